//! Listening sockets, of TCP and of the unix domain: bound here, or given by whoever started the process. Accepts
//! without blocking. Knows nothing of what is said over the sockets that it accepts.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{SocketFlags, acceptfrom_with, getsockname, sockopt};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::process::Process;
use super::resolve::Lookup;
use super::tcp::{TcpSocket, not_standard};

/// How long the look-up of a name may take.
const LOOKUP: Duration = Duration::from_secs(10);

/// Descriptors of sockets do not get the numbers of standard input, output and error.
const FIRST_OTHER: i32 = 3;

/// How to listen.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many connections may wait to be accepted.
    pub backlog: i32,
    /// Whether several processes may listen at the same address.
    pub reuseport: bool,
    /// The permissions of a unix domain socket's file, instead of what the process's umask leaves.
    pub mode: Option<u32>,
}

/// Where a listener, or the peer of an accepted socket, is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Ip(SocketAddr),
    /// The path is empty for the socket of a client.
    Unix(PathBuf),
}

/// The reason for which nothing was accepted.
#[derive(Debug)]
pub enum NotAccepted {
    /// Nobody waits.
    Nobody,
    /// The process, or the system, has no descriptor or no memory left. Whoever waits goes on waiting.
    Full(io::Error),
    /// The listener is of no further use.
    Failed(io::Error),
}

/// A listening socket. A unix domain socket's file is removed with it. See [`net`](super) for an example.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    process: Process,
    file: Option<File>,
}

/// The file of a unix domain socket that is ours.
#[derive(Debug)]
struct File {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl Listener {
    /// Listens at all addresses of a name, or at an address. With port 0, the first one's free port is the others' as
    /// well.
    ///
    /// # Errors
    /// The name is unknown, or one of the addresses cannot be listened at.
    pub fn tcp(host: &str, port: u16, settings: Settings) -> io::Result<Vec<Self>> {
        let mut lookup = Lookup::start(host, port);
        let found = lookup.poll(LOOKUP).unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?;
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in found {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let (mut listeners, mut chosen) = (Vec::new(), port);
        for mut address in addresses {
            address.set_port(chosen);
            let listener = Self::bound(address, settings)?;
            if let (0, Ok(Place::Ip(bound))) = (chosen, listener.place()) {
                chosen = bound.port();
            }
            listeners.push(listener);
        }
        if listeners.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(listeners)
    }

    fn bound(address: SocketAddr, settings: Settings) -> io::Result<Self> {
        let socket = new_socket(Domain::for_address(address), Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        #[cfg(not(any(target_os = "solaris", target_os = "illumos")))]
        if settings.reuseport {
            socket.set_reuse_port(true)?;
        }
        if matches!(address.ip(), IpAddr::V6(ip) if ip.is_unspecified()) {
            // The address of all interfaces takes IPv4, too, whatever the system's default is.
            socket.set_only_v6(false)?;
        }
        socket.bind(&address.into())?;
        socket.listen(settings.backlog)?;
        Ok(Self { socket: socket.into(), process: Process::this(), file: None })
    }

    /// Listens at a path. A socket that is left there, at which nobody listens any more, is replaced.
    ///
    /// # Errors
    /// Somebody listens there, it is not a socket, or the system's errors.
    pub fn unix(path: &str, settings: Settings) -> io::Result<Self> {
        let socket = new_socket(Domain::UNIX, None)?;
        let address = SockAddr::unix(path)?;
        if let Err(error) = socket.bind(&address) {
            if error.kind() != io::ErrorKind::AddrInUse || !is_abandoned(Path::new(path), &address)? {
                return Err(error);
            }
            fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        let is_at = fs::symlink_metadata(path)?;
        let file = File { path: path.into(), identity: (is_at.dev(), is_at.ino()) };
        let listener = Self { socket: socket.into(), process: Process::this(), file: Some(file) };
        if let Some(mode) = settings.mode {
            // Before anybody can connect.
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        }
        rustix::net::listen(&listener.socket, settings.backlog)?;
        Ok(listener)
    }

    /// Takes a copy of a descriptor at which somebody else has begun to listen.
    ///
    /// # Errors
    /// It is not a listening stream socket, or the system's errors.
    pub fn given(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let is_listening = sockopt::socket_acceptconn(fd).unwrap_or(false);
        if !is_listening {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a listening socket"));
        }
        let socket = Socket::from(fcntl_dupfd_cloexec(fd, FIRST_OTHER)?);
        socket.set_nonblocking(true)?;
        Ok(Self { socket: socket.into(), process: Process::this(), file: None })
    }

    /// Accepts a connection. Never blocks. Returns its socket, and where its peer is.
    ///
    /// # Errors
    /// See [`NotAccepted`].
    pub fn accept(&self) -> Result<(TcpSocket, Place), NotAccepted> {
        use rustix::io::Errno;
        self.process.check().map_err(NotAccepted::Failed)?;
        loop {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match acceptfrom_with(&self.socket, flags) {
                Ok((socket, address)) => {
                    let Ok(socket) = not_standard(socket.into()) else { continue };
                    let place = address.map_or(Place::Unix(PathBuf::new()), place_of);
                    return Ok((TcpSocket::accepted(socket.into()), place));
                }
                Err(Errno::AGAIN) => return Err(NotAccepted::Nobody),
                Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                    return Err(NotAccepted::Full(error.into()));
                }
                Err(error @ (Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP)) => {
                    return Err(NotAccepted::Failed(error.into()));
                }
                // Others concern the connection that is no more (accept(2)).
                Err(_) => {}
            }
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Returns the system's errors.
    pub fn place(&self) -> io::Result<Place> {
        Ok(place_of(getsockname(&self.socket)?))
    }

    /// The descriptor's number, for an event loop.
    #[must_use]
    pub fn fd(&self) -> i32 {
        self.socket.as_raw_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A forked child must leave its parent's file alone, and another socket may be there by now.
        let Some(file) = self.file.take() else { return };
        let is_ours = fs::symlink_metadata(&file.path).is_ok_and(|at| (at.dev(), at.ino()) == file.identity);
        if is_ours && self.process == Process::this() {
            let _ = fs::remove_file(&file.path);
        }
    }
}

fn new_socket(domain: Domain, protocol: Option<Protocol>) -> io::Result<Socket> {
    let socket = not_standard(Socket::new(domain, Type::STREAM, protocol)?)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Whether a socket at this path is one at which nobody listens any more.
fn is_abandoned(path: &Path, address: &SockAddr) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    let tried = new_socket(Domain::UNIX, None)?.connect(address);
    Ok(tried.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

fn place_of(address: rustix::net::SocketAddrAny) -> Place {
    if let Ok(address) = SocketAddr::try_from(address.clone()) {
        return Place::Ip(address);
    }
    let unix = rustix::net::SocketAddrUnix::try_from(address).ok();
    let path = unix.as_ref().and_then(rustix::net::SocketAddrUnix::path);
    Place::Unix(path.map(|path| OsStr::from_bytes(path.to_bytes()).into()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    const SETTINGS: Settings = Settings { backlog: 16, reuseport: false, mode: None };

    fn accepted(listener: &Listener) -> (TcpSocket, Place) {
        loop {
            match listener.accept() {
                Ok(accepted) => return accepted,
                Err(NotAccepted::Nobody) => std::thread::yield_now(),
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    #[test]
    fn it_accepts_over_tcp_and_does_not_wait() {
        let listener = Listener::tcp("127.0.0.1", 0, SETTINGS).unwrap().remove(0);
        assert!(matches!(listener.accept(), Err(NotAccepted::Nobody)));
        let Place::Ip(address) = listener.place().unwrap() else { panic!() };
        let mut client = TcpStream::connect(address).unwrap();
        let (socket, place) = accepted(&listener);
        assert_eq!(place, Place::Ip(client.local_addr().unwrap()));
        socket.write(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let error = Listener::tcp("127.0.0.1", address.port(), SETTINGS).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn several_share_an_address_if_all_say_so() {
        let shared = Settings { reuseport: true, ..SETTINGS };
        let first = Listener::tcp("127.0.0.1", 0, shared).unwrap().remove(0);
        let Place::Ip(address) = first.place().unwrap() else { panic!() };
        assert!(Listener::tcp("127.0.0.1", address.port(), shared).is_ok());
        assert!(Listener::tcp("127.0.0.1", address.port(), SETTINGS).is_err());
    }

    #[test]
    fn the_file_of_a_unix_socket_is_replaced_if_nobody_listens_and_removed_at_the_end() {
        let folder = std::env::temp_dir().join(format!("luws-listen-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("socket");
        let text = path.to_str().unwrap();
        // Left behind by a process that has ended.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = Listener::unix(text, SETTINGS).unwrap();
        assert_eq!(Listener::unix(text, SETTINGS).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let mut client = UnixStream::connect(&path).unwrap();
        accepted(&listener); // by which the other has found out that somebody listens
        let (socket, place) = accepted(&listener);
        assert_eq!(place, Place::Unix(PathBuf::new()));
        assert_eq!(listener.place().unwrap(), Place::Unix(path.clone()));
        client.write_all(b"x").unwrap();
        assert!(socket.wait(true, false, Some(Duration::from_secs(5))).unwrap());
        assert_eq!(socket.read(&mut [0; 9]).unwrap(), 1);
        drop(listener);
        assert!(!path.exists());
        let listener = Listener::unix(text, Settings { mode: Some(0o620), ..SETTINGS }).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o620);
        drop(listener);
        fs::write(&path, "a file").unwrap();
        assert!(Listener::unix(text, SETTINGS).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_given_descriptor_must_be_one_that_listens() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let given = Listener::given(listener.as_fd()).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        accepted(&given);
        drop(given);
        assert!(TcpStream::connect(listener.local_addr().unwrap()).is_ok());
        let error = Listener::given(client.as_fd()).unwrap_err();
        assert_eq!(error.to_string(), "it is not a listening socket");
        assert!(Listener::given(fs::File::open("/dev/null").unwrap().as_fd()).is_err());
    }
}
