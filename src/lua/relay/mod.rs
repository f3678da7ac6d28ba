//! Relays as Lua sees them: each carries the bytes between a WebSocket and a peer of the bridge, in turns in which no
//! Lua code runs. What becomes of the connection when one side ends is decided by the driver.

mod far;

use std::cell::RefCell;
use std::ffi::CStr;
use std::io;
use std::rc::Rc;

use self::far::{Far, GATHERED, Limits, Link, READS, Source};
use super::session::{Came, LuaSession, Passed};
use super::tls;
use super::value::{Handle, Reply, Table, Value, failure};
use super::{Context, Native};
use crate::memory;
use crate::net::datagram::{Datagram, MOST_UDP};
use crate::net::describe;
use crate::net::tcp::TcpSocket;
use crate::relay::framing::Framer;
use crate::relay::peer::Peer;
use crate::relay::{FramingError, Rule};
use crate::tls::Tls;

pub(super) const FUNCTIONS: &[(&CStr, Native)] = &[
    // check_framing(name, config): nil, or what is wrong with a framing
    (c"check_framing", check_framing),
    // relay_stream(socket, options): takes over a connected socket. Options: framing (a table with name and config;
    // without a name the owner says what a message is), max_segment, max_message, buffer (bytes), preface (written
    // before everything else), tls (a table with LuaSec's names, or nil) and host. Returns a relay; or nil and the
    // error
    (c"relay_stream", relay_stream),
    // relay_unix(path, options): the same, with a socket that it connects. Whether the error is that too many wait
    // there comes third
    (c"relay_unix", relay_unix),
    // relay_udp(address, port, options), relay_unix_dgram(path, options): the same, for datagrams
    (c"relay_udp", relay_udp),
    (c"relay_unix_dgram", relay_unix_dgram),
    // relay_fd(relay): the descriptor of its peer; -1 once closed
    (c"relay_fd", relay_fd),
    // relay_open(relay): goes on with TLS. Returns whether that is ready; or nil and the error
    (c"relay_open", relay_open),
    // relay_join(relay, session): from now on it carries the bytes of this session; relay_leave(relay): no more
    (c"relay_join", relay_join),
    (c"relay_leave", relay_leave),
    // relay_move(relay, client, peer): carries what can be carried now, both ways. `client` and `peer` are what has
    // happened to the descriptors. Returns whether there is more at once; what has happened to the client ("closed",
    // "failed", "ended", "too big", or nil) and why; what has happened to the peer ("ended", "failed", "too long", or
    // nil) and why; and whether the owner is to be asked for messages
    (c"relay_move", relay_move),
    // relay_held(relay): what the peer has sent and no message has had; relay_take(relay, length, is_text): sends the
    // first bytes of that as a message, which is written once many have gathered, or by the owner
    (c"relay_held", relay_held),
    (c"relay_take", relay_take),
    // relay_is_held(relay): whether the client is not read, because the peer does not take what it has sent
    (c"relay_is_held", relay_is_held),
    // relay_drain(relay): without a session, writes what waits for the peer, ends that side, and reads until the peer
    // has ended its own. Returns how many bytes wait, nil if it is over; and whether there is more at once
    (c"relay_drain", relay_drain),
    // relay_counts(relay): the bytes of data from the client, and to it, and when there were some last
    (c"relay_counts", relay_counts),
    // relay_close(relay): closes the socket of the peer
    (c"relay_close", relay_close),
];

fn check_framing(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let name = arguments.first().and_then(Value::text).unwrap_or_default();
    let config = arguments.get(1).and_then(Value::bytes);
    vec![Rule::parse(&name, config).err().into()]
}

#[derive(Debug)]
pub(super) struct LuaRelay {
    context: Rc<Context>,
    session: Option<Rc<LuaSession>>,
    /// The client's descriptor.
    source: Source,
    far: Far,
}

/// What has happened to a side, and why.
type End = Option<(&'static str, String)>;

fn options(arguments: &[Value], index: usize) -> &Table {
    const EMPTY: &Table = &Table(Vec::new());
    arguments.get(index).and_then(Value::table).unwrap_or(EMPTY)
}

/// `most` is the most bytes that a message may have because of the link.
fn made(context: &Rc<Context>, link: Link, most: usize, options: &Table) -> Reply {
    let (name, config) = match options.get("framing").table() {
        Some(framing) => (framing.get("name").text(), framing.get("config").bytes()),
        None => (None, None),
    };
    let rule = name.as_ref().map_or(Ok(Rule::Owners), |name| Rule::parse(name, config));
    let tls = options.get("tls").table().map(|given| secured(context, given, options)).transpose();
    let (rule, tls) = match (rule, tls) {
        (Ok(rule), Ok(tls)) => (rule, tls),
        (Err(why), _) | (_, Err(why)) => return failure(why),
    };
    let preface = options.get("preface").bytes().map(<[u8]>::to_vec).unwrap_or_default();
    let size = |name| options.get(name).size();
    let limits = Limits {
        buffer: size("buffer"),
        max_message: size("max_message").min(most),
        max_segment: size("max_segment").min(link.longest()),
    };
    let asks = matches!(rule, Rule::Owners);
    let peer = Peer::new(Framer::new(rule, limits.max_segment), tls, preface);
    let relay = LuaRelay {
        context: Rc::clone(context),
        session: None,
        source: Source::default(),
        far: Far::new(link, peer, limits, asks),
    };
    vec![Handle::Relay(Rc::new(RefCell::new(relay))).into()]
}

fn secured(context: &Rc<Context>, given: &Table, options: &Table) -> Result<Tls, String> {
    let (connector, _) = tls::connector(context, given).map_err(tls::Fault::text)?;
    let host = options.get("host").text().unwrap_or_default();
    Tls::client(&connector, &host).map_err(|error| error.to_string())
}

fn failed(error: &io::Error) -> Reply {
    vec![Value::Nil, describe(error).into(), (error.kind() == io::ErrorKind::WouldBlock).into()]
}

fn relay_stream(context: &Rc<Context>, arguments: &[Value]) -> Reply {
    let Some(Value::Handle(Handle::Socket(socket))) = arguments.first() else { return failure("closed") };
    match socket.take() {
        Some(tcp) => made(context, Link::Stream(tcp), usize::MAX, options(arguments, 1)),
        None => failure("closed"),
    }
}

fn relay_unix(context: &Rc<Context>, arguments: &[Value]) -> Reply {
    match TcpSocket::unix(&arguments.first().and_then(Value::text).unwrap_or_default()) {
        Ok(tcp) => made(context, Link::Stream(Rc::new(tcp)), usize::MAX, options(arguments, 1)),
        Err(error) => failed(&error),
    }
}

fn datagrams(context: &Rc<Context>, socket: io::Result<Datagram>, most: usize, options: &Table) -> Reply {
    match socket {
        Ok(socket) => made(context, Link::Datagram { socket, pending: None }, most, options),
        Err(error) => failed(&error),
    }
}

fn relay_udp(context: &Rc<Context>, arguments: &[Value]) -> Reply {
    let address = arguments.first().and_then(Value::text).unwrap_or_default();
    let port = arguments.get(1).map_or(0, Value::size) as u16;
    datagrams(context, Datagram::udp(&address, port), MOST_UDP, options(arguments, 2))
}

fn relay_unix_dgram(context: &Rc<Context>, arguments: &[Value]) -> Reply {
    let path = arguments.first().and_then(Value::text).unwrap_or_default();
    datagrams(context, Datagram::unix(&path), usize::MAX, options(arguments, 1))
}

fn with<R>(arguments: &[Value], f: impl FnOnce(&mut LuaRelay) -> R) -> Option<R> {
    let Some(Value::Handle(Handle::Relay(relay))) = arguments.first() else { return None };
    relay.try_borrow_mut().ok().map(|mut relay| f(&mut relay))
}

fn relay_fd(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    vec![f64::from(with(arguments, |relay| relay.far.link.fd()).unwrap_or(-1)).into()]
}

fn relay_open(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    match with(arguments, |relay| relay.far.open()) {
        Some(Ok(is_open)) => vec![is_open.into()],
        Some(Err(error)) => failure(describe(&error)),
        None => failure("closed"),
    }
}

fn relay_join(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let Some(Value::Handle(Handle::Session(session))) = arguments.get(1) else { return vec![] };
    with(arguments, |relay| {
        session.prepare_to_pass_on(relay.far.is_stream(), relay.far.limits.max_message);
        relay.session = Some(Rc::clone(session));
    });
    vec![]
}

fn relay_leave(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    with(arguments, |relay| relay.session = None);
    vec![]
}

fn relay_move(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let [client, peer] = [1, 2].map(|index| arguments.get(index).map_or(0, Value::size) as u8);
    let Some(moved) = with(arguments, |relay| relay.carry(client, peer)) else { return vec![] };
    let Moved { more, client, peer, asks } = moved;
    if client.is_none() && peer.is_none() && !asks {
        return vec![more.into()];
    }
    let told = |end: End| end.map_or([Value::Nil, Value::Nil], |(what, why)| [what.into(), why.into()]);
    let ([client, why], [peer, reason]) = (told(client), told(peer));
    vec![more.into(), client, why, peer, reason, asks.into()]
}

fn relay_held(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let held = with(arguments, |relay| memory::copy(relay.far.peer.framer().held()));
    vec![held.and_then(Result::ok).unwrap_or_default().into()]
}

fn relay_take(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let length = arguments.get(1).map_or(0, Value::size);
    let is_text = arguments.get(2).and_then(Value::boolean) == Some(true);
    with(arguments, |relay| {
        let Some(session) = relay.session.clone() else { return };
        relay.far.send(&session, |framer| Ok(Some(framer.take(length, is_text))));
        if session.outgoing() >= GATHERED {
            let _ = session.write(); // why it cannot be, shows later
        }
    });
    vec![]
}

fn relay_is_held(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    vec![with(arguments, |relay| relay.far.is_full()).unwrap_or(false).into()]
}

fn relay_drain(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let drain = |relay: &mut LuaRelay| relay.far.drain(relay.context.storage.borrow_mut().input());
    match with(arguments, drain).flatten() {
        Some((waiting, more)) => vec![waiting.into(), more.into()],
        None => vec![],
    }
}

fn relay_counts(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let counts = with(arguments, |relay| {
        let far = &relay.far;
        [far.from_client as f64, far.to_client as f64, far.active]
    });
    counts.unwrap_or_default().map(Value::from).to_vec()
}

fn relay_close(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    with(arguments, |relay| {
        relay.session = None;
        relay.far.link = Link::Closed;
    });
    vec![]
}

/// What a turn has come to.
struct Moved {
    more: bool,
    client: End,
    peer: End,
    asks: bool,
}

impl LuaRelay {
    /// Carries what can be carried now. The bits say what has happened to the descriptors.
    fn carry(&mut self, client: u8, peer: u8) -> Moved {
        self.source.note(client);
        self.far.source.note(peer);
        let mut moved = Moved { more: false, client: None, peer: None, asks: false };
        let Some(session) = self.session.clone() else { return moved };
        self.up(&session, &mut moved);
        if moved.client.is_none() {
            self.down(&session, &mut moved);
        }
        if session.outgoing() > 0
            && let Err(why) = session.write()
            && why != "timeout"
            && moved.client.is_none()
        {
            moved.client = Some(("ended", why.into_owned()));
        }
        let mut storage = self.context.storage.borrow_mut();
        let (input, output) = storage.queues();
        self.far.peer.give_back(input, output);
        moved
    }

    /// From the client to the peer.
    fn up(&mut self, session: &LuaSession, moved: &mut Moved) {
        let far = &mut self.far;
        moved.more = true;
        for _ in 0..READS {
            far.flush();
            if far.is_full() {
                moved.more = false; // until there is room
                break;
            }
            let passed = session.pass_on(|data| far.deliver(data).map(|()| !far.is_full()));
            moved.client = match passed {
                Passed::Enough | Passed::Refused => continue,
                Passed::TooLarge => Some(("too big", "the message is too large".into())),
                Passed::Closed => Some(("closed", String::new())),
                Passed::Failed(why) => Some(("failed", why)),
                Passed::Everything if self.source.is_readable => match session.read(None) {
                    Ok(came) => {
                        match came {
                            Came::Bytes(_, more) => self.source.has_read(more),
                            Came::Nothing { .. } => self.source.is_readable = false,
                        }
                        continue;
                    }
                    Err(why) => Some(("ended", why.into_owned())),
                },
                Passed::Everything | Passed::Over => None,
            };
            moved.more = false;
            break;
        }
        far.flush();
    }

    /// From the peer to the client.
    fn down(&mut self, session: &LuaSession, moved: &mut Moved) {
        let far = &mut self.far;
        if far.has_more() {
            far.peer.borrow_input(self.context.storage.borrow_mut().input());
        }
        for _ in 0..READS {
            if !far.has_more() {
                return;
            }
            if session.outgoing() >= GATHERED.min(far.limits.buffer) {
                let _ = session.write(); // why it cannot be, shows later
            }
            if session.outgoing() >= far.limits.buffer {
                return; // until there is room
            }
            let is_over = match far.read() {
                Ok(is_over) => is_over,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    far.source.is_readable = false;
                    if far.fault.is_none() {
                        return;
                    }
                    true
                }
                Err(error) => {
                    far.fail(&error);
                    true
                }
            };
            if is_over {
                far.is_over = true;
                far.send_rest(session);
                let fault = far.fault.take();
                moved.peer = Some(fault.map_or(("ended", String::new()), |why| ("failed", why)));
            } else if let Err(error) = far.send_all(session) {
                far.is_over = true;
                let what = if let FramingError::TooLong { .. } = error { "too long" } else { "failed" };
                moved.peer = Some((what, error.to_string()));
            }
            moved.asks = far.asks;
            if far.asks {
                break;
            }
        }
        moved.more |= far.has_more();
    }
}
