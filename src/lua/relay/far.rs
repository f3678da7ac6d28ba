//! The side of a relay's peer: its socket, what was read from it and what waits to be written to it.

use std::io;
use std::rc::Rc;

use super::super::session::{LuaSession, TooLarge};
use crate::memory;
use crate::net::datagram::{Datagram, is_too_large};
use crate::net::tcp::TcpSocket;
use crate::net::{coarse_clock, describe};
use crate::protocol::frame::Opcode;
use crate::relay::FramingError;
use crate::relay::framing::Framer;
use crate::relay::peer::Peer;

/// How many bytes are read from a stream at a time: what is sent at once is no larger than luws's own clients take by
/// default, and has a short header. And from datagram sockets, whose longer datagrams are cut off there.
const READ: usize = 64 * 1024 - 1;
const READ_DATAGRAM: usize = 256 * 1024;

/// How many bytes are read at first for an owner who says what is a message, and is given all that is held each time:
/// short messages are not among many others then, and for long ones more is read.
const READ_FOR_OWNER: usize = 4 * 1024;

/// How many reads of a side a turn has, so that the others have theirs.
pub(super) const READS: usize = 16;

/// What has happened to a descriptor: bits of the poller's (`turns.lua`).
const READABLE: u8 = 1;
const ENDED: u8 = 4;

/// Data of at least this size are written at once, without being copied.
const DIRECT: usize = 8 * 1024;

/// As many bytes are gathered before they are written in the middle of a turn.
pub(super) const GATHERED: usize = 64 * 1024;

/// What carries the bytes of a peer.
#[derive(Debug)]
pub(super) enum Link {
    Stream(Rc<TcpSocket>),
    Datagram {
        socket: Datagram,
        /// A datagram for which there was no room.
        pending: Option<Vec<u8>>,
    },
    Closed,
}

/// What is known of a descriptor from which bytes come. The poller tells only what changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    /// There may be something to read.
    pub(super) is_readable: bool,
    /// An end was told, and is still to be read.
    told_end: bool,
}

impl Default for Source {
    fn default() -> Self {
        Self { is_readable: true, told_end: false }
    }
}

impl Source {
    /// Notes what has happened to the descriptor.
    pub(super) fn note(&mut self, happened: u8) {
        self.is_readable |= happened & (READABLE | ENDED) != 0;
        self.told_end |= happened & ENDED != 0;
    }

    /// Notes that a read has brought something, and whether there may be more.
    pub(super) fn has_read(&mut self, more: bool) {
        self.is_readable = more || self.told_end;
    }
}

/// How far the end of our side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    Unsaid,
    /// TLS has queued its own.
    Said,
    /// The stream was ended.
    Sent,
}

/// The peer's side.
#[derive(Debug)]
pub(super) struct Far {
    pub(super) link: Link,
    pub(super) peer: Peer,
    pub(super) limits: Limits,
    pub(super) source: Source,
    /// Nothing more will be read.
    pub(super) is_over: bool,
    /// Nothing more can be written; and why, until the owner is told.
    is_deaf: bool,
    pub(super) fault: Option<String>,
    farewell: Farewell,
    /// Bytes from the client, and to it.
    pub(super) from_client: u64,
    pub(super) to_client: u64,
    pub(super) active: f64,
    /// The owner says what is a message.
    pub(super) asks: bool,
}

impl Link {
    pub(super) fn fd(&self) -> i32 {
        match self {
            Self::Stream(tcp) => tcp.fd(),
            Self::Datagram { socket, .. } => socket.fd(),
            Self::Closed => -1,
        }
    }

    /// The most bytes of a datagram that is surely whole: one that fills the space for it may have been cut off. A
    /// stream has no such limit.
    pub(super) fn longest(&self) -> usize {
        if let Self::Datagram { .. } = self { READ_DATAGRAM - 1 } else { usize::MAX }
    }
}

/// What is bounded, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How much may wait for a side before the other is not read.
    pub(super) buffer: usize,
    /// The largest message of the client, and of the peer.
    pub(super) max_message: usize,
    pub(super) max_segment: usize,
}

impl Far {
    /// `asks`: the owner says what is a message.
    pub(super) fn new(link: Link, peer: Peer, limits: Limits, asks: bool) -> Self {
        Self {
            link,
            peer,
            limits,
            source: Source::default(),
            is_over: false,
            is_deaf: false,
            fault: None,
            farewell: Farewell::Unsaid,
            from_client: 0,
            to_client: 0,
            active: coarse_clock(),
            asks,
        }
    }

    /// Whether it may be given messages in pieces.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.link, Link::Stream(_))
    }

    /// Goes on with TLS. Returns whether it is ready.
    pub(super) fn open(&mut self) -> io::Result<bool> {
        let Link::Stream(tcp) = &self.link else { return Ok(true) };
        loop {
            match self.peer.send_with(|bytes| tcp.write(bytes)) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ if self.peer.is_open() => return Ok(true),
                _ => {}
            }
            match self.peer.receive_with(READ.min(self.limits.max_segment), |space| tcp.read(space)) {
                Ok(read) if read.ended => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                result => result?,
            };
        }
    }

    /// Whether nothing more is taken from the client now.
    pub(super) fn is_full(&self) -> bool {
        match &self.link {
            _ if self.is_deaf => false,
            Link::Datagram { pending, .. } => pending.is_some(),
            Link::Stream(_) | Link::Closed => self.peer.waiting() >= self.limits.buffer,
        }
    }

    /// Notes that the peer has failed: nothing more can be written. What it has sent before is still read.
    pub(super) fn fail(&mut self, error: &io::Error) {
        if !self.is_deaf && !self.is_over {
            self.fault = Some(describe(error));
        }
        (self.is_deaf, self.source.is_readable) = (true, true);
    }

    /// Gives data of the client to the peer. A message that is too large for a datagram is an error.
    pub(super) fn deliver(&mut self, data: &[u8]) -> Result<(), TooLarge> {
        self.from_client += data.len() as u64;
        self.active = coarse_clock();
        let given = if self.is_deaf { Ok(()) } else { self.give(data) };
        match given {
            Err(error) if is_too_large(&error) => return Err(TooLarge),
            Err(error) => self.fail(&error),
            Ok(()) => {}
        }
        Ok(())
    }

    /// Writes data, or queues it.
    fn give(&mut self, data: &[u8]) -> io::Result<()> {
        match &mut self.link {
            Link::Stream(tcp) => {
                let mut rest = data;
                while !rest.is_empty() && data.len() >= DIRECT && self.peer.is_direct() {
                    match tcp.write(rest) {
                        Ok(count) => rest = &rest[count..],
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error),
                    }
                }
                self.peer.queue(rest)?;
                if self.peer.waiting() >= GATHERED {
                    self.flush();
                }
                Ok(())
            }
            Link::Datagram { socket, pending } => match socket.write(data) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    *pending = Some(memory::copy(data)?);
                    Ok(())
                }
                result => result,
            },
            Link::Closed => Ok(()),
        }
    }

    /// Writes what waits for the peer, as far as there is room.
    pub(super) fn flush(&mut self) {
        let written = match &mut self.link {
            _ if self.is_deaf => Ok(()),
            Link::Stream(tcp) if self.peer.waiting() > 0 => self.peer.send_with(|bytes| tcp.write(bytes)),
            Link::Datagram { socket, pending } => {
                let result = pending.as_ref().map_or(Ok(()), |datagram| socket.write(datagram));
                result.inspect(|()| *pending = None)
            }
            Link::Stream(_) | Link::Closed => Ok(()),
        };
        if let Err(error) = written
            && error.kind() != io::ErrorKind::WouldBlock
        {
            self.fail(&error);
        }
    }

    /// Whether there may be something to read.
    pub(super) fn has_more(&self) -> bool {
        self.source.is_readable && !self.is_over
    }

    /// Reads once. Returns whether that was the end.
    pub(super) fn read(&mut self) -> io::Result<bool> {
        let is_end = match &self.link {
            Link::Stream(tcp) => {
                let held = self.peer.framer().held().len();
                let most = if self.asks { READ.min(held.max(READ_FOR_OWNER)) } else { READ };
                let read =
                    self.peer.receive_with(most.min(self.limits.max_segment), |space| tcp.read(space))?;
                self.source.has_read(read.more || self.fault.is_some());
                read.ended
            }
            Link::Datagram { socket, .. } => {
                let input = self.peer.framer().input();
                let count = socket.read(input.space(READ_DATAGRAM)?)?;
                input.commit(count);
                false
            }
            Link::Closed => true,
        };
        self.active = coarse_clock();
        Ok(is_end)
    }

    /// Sends the messages of what was read; all of it, if it was a datagram.
    pub(super) fn send_all(&mut self, session: &LuaSession) -> Result<(), FramingError> {
        let is_datagram = matches!(self.link, Link::Datagram { .. });
        if is_datagram && self.peer.framer().held().len() > self.limits.max_segment {
            return Err(FramingError::TooLong { limit: self.limits.max_segment });
        }
        if is_datagram && self.peer.framer().held().is_empty() {
            self.send(session, |framer| Ok(framer.empty()));
            return Ok(());
        }
        while let Some(result) = self.send(session, Framer::next_message) {
            result?;
        }
        if is_datagram {
            self.send_rest(session);
        }
        Ok(())
    }

    /// Sends what is left at the end, as one message.
    pub(super) fn send_rest(&mut self, session: &LuaSession) {
        if !self.asks {
            self.send(session, |framer| Ok(framer.last()));
        }
    }

    /// Sends a message that the framing finds, if there is one.
    pub(super) fn send(
        &mut self,
        session: &LuaSession,
        find: impl FnOnce(&mut Framer) -> Result<Option<(Opcode, &[u8])>, FramingError>,
    ) -> Option<Result<(), FramingError>> {
        let (opcode, data) = match find(self.peer.framer()) {
            Ok(message) => message?,
            Err(error) => return Some(Err(error)),
        };
        self.to_client += data.len() as u64;
        // A client that has closed the connection gets nothing more.
        let _ = if data.len() >= DIRECT {
            session.send_at_once(opcode, data)
        } else {
            session.send(opcode as u8, data, true)
        };
        Some(Ok(()))
    }

    /// Without a client: writes what waits, ends that side, and reads until the peer has ended its own. Returns how
    /// many bytes wait, and whether there is more to do at once; `None` once it is over.
    pub(super) fn drain(&mut self, space: &mut [u8]) -> Option<(usize, bool)> {
        self.flush();
        if self.farewell == Farewell::Unsaid && !self.is_full() && self.peer.waiting() == 0 {
            self.peer.shutdown();
            self.flush();
            self.farewell = Farewell::Said;
        }
        let tcp = match &self.link {
            Link::Datagram { pending: Some(datagram), .. } if !self.is_deaf => {
                return Some((datagram.len(), false));
            }
            Link::Stream(tcp) if !self.is_deaf => tcp,
            _ => return None,
        };
        if self.peer.waiting() > 0 {
            return Some((self.peer.waiting(), false));
        }
        // Once: epoll tells of each.
        if self.farewell == Farewell::Said {
            self.farewell = Farewell::Sent;
            let _ = tcp.shutdown_write(); // it may be gone
        }
        for _ in 0..READS {
            match tcp.read(space) {
                Ok(count) if count > 0 => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Some((0, false)),
                _ => return None,
            }
        }
        Some((0, true))
    }
}
