//! Datagram sockets that are connected to a peer, of UDP and of the unix domain. They never block.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use rustix::net::send;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::process::Process;
use super::tcp::{NO_SIGNAL, not_standard};

/// The most bytes in a datagram of UDP over IPv4 (RFC 768, RFC 791): one less 65536, without both headers.
pub const MOST_UDP: usize = 65507;

/// A connected datagram socket. A forked child can close its copy, and nothing else.
#[derive(Debug)]
pub struct Datagram {
    socket: Socket,
    process: Process,
}

impl Datagram {
    /// A socket for the peer at this address, which is not a name.
    ///
    /// # Errors
    /// Returns the system's errors; that nobody listens there shows only after something was sent.
    pub fn udp(address: &str, port: u16) -> io::Result<Self> {
        let address: IpAddr = address.parse().map_err(io::Error::other)?;
        let address = SocketAddr::new(address, port);
        Self::connected(Domain::for_address(address), Some(Protocol::UDP), None, &address.into())
    }

    /// A socket for the peer at this path. It has an address of its own, chosen by the system where that is possible
    /// (Linux), so that the peer can answer.
    ///
    /// # Errors
    /// Returns the system's errors.
    pub fn unix(path: &str) -> io::Result<Self> {
        let own =
            cfg!(any(target_os = "android", target_os = "linux")).then(|| SockAddr::unix("")).transpose()?;
        Self::connected(Domain::UNIX, None, own.as_ref(), &SockAddr::unix(path)?)
    }

    fn connected(
        domain: Domain,
        protocol: Option<Protocol>,
        own: Option<&SockAddr>,
        peer: &SockAddr,
    ) -> io::Result<Self> {
        let socket = not_standard(Socket::new(domain, Type::DGRAM, protocol)?)?;
        socket.set_nonblocking(true)?;
        if let Some(own) = own {
            socket.bind(own)?;
        }
        socket.connect(peer)?;
        Ok(Self { socket, process: Process::this() })
    }

    /// Reads a datagram, which may be empty. What `target` has no room for is lost.
    ///
    /// # Errors
    /// `WouldBlock` if there is none, and the system's errors.
    pub fn read(&self, target: &mut [u8]) -> io::Result<usize> {
        self.process.check()?;
        (&self.socket).read(target)
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room, [`is_too_large`], and the system's errors.
    pub fn write(&self, source: &[u8]) -> io::Result<()> {
        self.process.check()?;
        send(&self.socket, source, NO_SIGNAL)?;
        Ok(())
    }

    /// The descriptor's number, for an event loop.
    #[must_use]
    pub fn fd(&self) -> i32 {
        self.socket.as_raw_fd()
    }
}

/// Whether a datagram was not sent because no datagram to this peer may be that large.
#[must_use]
pub fn is_too_large(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn read(socket: &Datagram) -> Vec<u8> {
        let mut space = vec![0; 1 << 17];
        loop {
            match socket.read(&mut space) {
                Ok(count) => return space[..count].to_vec(),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn datagrams_go_both_ways_whole() {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = Datagram::udp("127.0.0.1", peer.local_addr().unwrap().port()).unwrap();
        for message in [vec![], vec![7], vec![7; MOST_UDP]] {
            socket.write(&message).unwrap();
            let mut space = vec![0; 1 << 17];
            let (count, from) = peer.recv_from(&mut space).unwrap();
            assert_eq!(space[..count], message);
            peer.send_to(&message, from).unwrap();
            assert_eq!(read(&socket), message);
        }
        assert!(is_too_large(&socket.write(&vec![7; MOST_UDP + 1]).unwrap_err()));
    }

    #[test]
    fn a_peer_of_the_unix_domain_can_answer() {
        let path = std::env::temp_dir().join(format!("luws-datagram-{}", std::process::id()));
        let peer = UnixDatagram::bind(&path).unwrap();
        let socket = Datagram::unix(path.to_str().unwrap()).unwrap();
        socket.write(b"question").unwrap();
        let mut space = [0; 64];
        let (count, from) = peer.recv_from(&mut space).unwrap();
        assert_eq!(&space[..count], b"question");
        peer.send_to_addr(b"answer", &from).unwrap();
        assert_eq!(read(&socket), b"answer");
        drop(peer);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(socket.write(b"x").unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(Datagram::unix(path.to_str().unwrap()).is_err());
        assert!(Datagram::unix(&"x".repeat(200)).is_err());
    }
}
