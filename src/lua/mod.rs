//! The binding: the native functions that the Lua driver (`lua/`) works with, and the module's entry point.
//!
//! User code is called only where the driver asks for it (`raw`), so nothing is borrowed while a handler runs. User
//! mistakes raise no errors here. Failures are values: `nil` or `false`, and a string.
//!
//! The functions take and return [`Value`]s. Only [`raw`] calls Lua's C API.

mod auth;
mod console;
mod cookies;
mod files;
mod listener;
mod objects;
mod options;
mod poller;
mod proxy;
mod raw;
mod relay;
mod room;
mod session;
mod socket;
mod sources;
mod tls;
mod traffic;
mod value;

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::address::Address;
use crate::http::coding;
use crate::http::date;
use crate::http::headers::Header;
use crate::memory;
use crate::net::process::{NOT_OURS, Process};
use crate::network::Network;
use crate::protocol::error::SendError;
use crate::protocol::frame::Opcode;
use crate::protocol::spare::Spares;
use crate::tls::{Connector, TlsOptions};
use crate::url::{Target, UrlError};
use objects::Objects;
use tls::{Connectors, Fault, Files};
use value::{Handle, Reply, Table, Value, failure};

/// A function that Lua calls.
type Native = fn(&Rc<Context>, &[Value]) -> Reply;

/// The functions by name, except those of [`raw`], which are called for each message.
const FUNCTIONS: &[&[(&CStr, Native)]] = &[
    OWN_FUNCTIONS,
    session::FUNCTIONS,
    session::SERVING_FUNCTIONS,
    session::ASKING_FUNCTIONS,
    listener::FUNCTIONS,
    room::FUNCTIONS,
    relay::FUNCTIONS,
    traffic::FUNCTIONS,
    files::FUNCTIONS,
    socket::FUNCTIONS,
    poller::FUNCTIONS,
    cookies::FUNCTIONS,
    auth::FUNCTIONS,
    proxy::FUNCTIONS,
    console::FUNCTIONS,
];

const OWN_FUNCTIONS: &[(&CStr, Native)] = &[
    // parse_url(url [, is_http]): a table of the fields of Target, and its URL without user and password; or nil and
    // what is wrong with the URL. is_http: whether http stands for ws, and https for wss
    (c"parse_url", parse_url),
    // follow(url, location, is_http): the target to which a redirect of this URL leads, or nil and what is wrong with
    // the location; `is_http`: in terms of http
    (c"follow", follow),
    // parse_address(url, base): a table of the fields of Address; or nil and what is wrong with the URL
    (c"parse_address", parse_address),
    // is_within(address, network): whether an IP address is one of a network's; nil if this is no network
    (c"is_within", is_within),
    // check_header(name, value): nil, or what is wrong with it
    (c"check_header", check_header),
    // random(): a number from 0 to 1, without 1
    (c"random", random),
    // http_date(text): a date of HTTP in seconds since 1970, which may be negative; or nil
    (c"http_date", http_date),
    // acceptor(options): what accepts a server's TLS connections; or nil and what is wrong with the options
    (c"acceptor", tls::acceptor),
    // check_tls(options): nil, or what is wrong with these options of TLS clients
    (c"check_tls", check_tls),
    // base64(data): its text; or nil and the error. unbase64(text): the data; or nil if it is not base64
    (c"base64", base64),
    (c"unbase64", unbase64),
    // gzip(data): the data, compressed; or nil and the error
    (c"gzip", gzip),
    // check_text(opcode, data): nil, or why it cannot be sent as a message with this opcode
    (c"check_text", check_text),
    // virtual_clock(): a clock at 0 seconds; set_clock(clock, seconds)
    (c"virtual_clock", virtual_clock),
    (c"set_clock", set_clock),
    // first_unverified(): true on the first call in the process
    (c"first_unverified", first_unverified),
    // process(): the number of this process; not_ours(number): nil, or why nothing can be done, if it is another one's
    (c"process", process),
    (c"not_ours", not_ours),
    // give_back(): gives the system what ended sessions had, if there were some; whether it has, or some are still to
    // go
    (c"give_back", give_back),
    // date(seconds): a time in seconds since 1970, as HTTP writes it
    (c"date", date_of),
    // first_too_large(): true on the first call in the Lua state
    (c"first_too_large", first_too_large),
];

/// Whether the warning about an unverified server has been given. Once per process is enough, and a static is all that
/// its Lua states share.
static UNVERIFIED_SAID: AtomicBool = AtomicBool::new(false);

/// The maximum nesting of deliveries. Below that nothing is received: Lua 5.1 allows 200 nested C calls, each delivery
/// takes two of them, and handlers need the rest for their own pcalls.
const DEEPEST: u32 = 25;

/// How many sessions are freed or dropped (most are both) before the system gets back what they had: at once; and if
/// nothing else happens, but that the collector runs.
const MANY: u32 = 128;
const FEW: u32 = 16;

/// The state of one loaded instance of the module.
#[derive(Debug)]
struct Context {
    /// How deeply deliveries are nested.
    depth: Cell<u32>,
    /// Whether connections linger, so that each call by the user must also advance them.
    lingering: Cell<bool>,
    /// Whether the warning about a descriptor that select cannot handle has been given.
    too_large_said: Cell<bool>,
    /// The coroutine (by its address) in which nothing may yield now.
    unyielding: Cell<usize>,
    /// How many sessions were freed, and how many dropped, since the allocator was last asked to give memory back.
    freed: Cell<u32>,
    /// How many sessions were freed, but are not dropped.
    ended: Cell<u32>,
    /// What Lua holds.
    objects: Objects,
    storage: RefCell<session::Shared>,
    spares: Spares,
    sessions: session::Register,
    connectors: RefCell<Connectors>,
    files: RefCell<Files>,
}

impl Context {
    fn new() -> Self {
        Self {
            depth: Cell::new(0),
            lingering: Cell::new(false),
            too_large_said: Cell::new(false),
            unyielding: Cell::new(0),
            freed: Cell::new(0),
            ended: Cell::new(0),
            objects: Objects::default(),
            storage: RefCell::default(),
            spares: Spares::shared(),
            sessions: session::Register::default(),
            connectors: RefCell::default(),
            files: RefCell::default(),
        }
    }

    /// Whether deliveries are nested as deeply as allowed.
    fn is_deep(&self) -> bool {
        self.depth.get() >= DEEPEST
    }

    /// Notes that a session was freed or dropped.
    fn note_freed(&self) {
        self.freed.set(self.freed.get() + 1);
    }

    /// Has the allocator give memory back, if at least so many sessions were freed or dropped since it last did.
    /// Returns whether it has. It does not do that by itself: what they had, some 30 KiB over wss, is in small pieces.
    /// It takes a few milliseconds.
    fn give_back(&self, count: u32) -> bool {
        let is_due = self.freed.get() >= count;
        if is_due {
            self.freed.set(0);
            raw::trim();
        }
        is_due
    }

    /// The connector for TLS connections with these options, which were read from `table`.
    fn connector(&self, options: TlsOptions, table: &Table) -> Result<Connector, Fault> {
        self.connectors.borrow_mut().get(self, options, table)
    }
}

/// Seconds since 1970, as `socket.gettime` returns them.
fn time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// The string at this index of the arguments; empty if there is none.
fn bytes(arguments: &[Value], index: usize) -> &[u8] {
    arguments.get(index).and_then(Value::bytes).unwrap_or_default()
}

/// Unpredictable enough that the clients of a server that restarts do not all come back at the same time.
fn random(_: &Rc<Context>, _: &[Value]) -> Reply {
    let bits = RandomState::new().build_hasher().finish();
    // As many bits as a number in Lua has.
    vec![((bits >> 11) as f64 / (1_u64 << 53) as f64).into()]
}

fn http_date(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let seconds = arguments.first().and_then(Value::bytes).and_then(date::parse);
    vec![seconds.map(|seconds| seconds as f64).into()]
}

fn date_of(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    vec![date::text(arguments.first().and_then(Value::number).unwrap_or_default()).into()]
}

fn base64(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let data = bytes(arguments, 0);
    let mut text = match memory::zeros(data.len().div_ceil(3) * 4) {
        Ok(text) => text,
        Err(error) => return failure(error.to_string()),
    };
    match BASE64.encode_slice(data, &mut text) {
        Ok(_) => vec![Value::Bytes(text)],
        Err(error) => failure(error.to_string()),
    }
}

fn gzip(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    match coding::gzip(bytes(arguments, 0)) {
        Ok(compressed) => vec![Value::Bytes(compressed)],
        Err(error) => failure(error.to_string()),
    }
}

fn unbase64(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let text = bytes(arguments, 0);
    let mut data = match memory::zeros(text.len().div_ceil(4) * 3) {
        Ok(data) => data,
        Err(error) => return failure(error.to_string()),
    };
    match BASE64.decode_slice(text, &mut data) {
        Ok(length) => {
            data.truncate(length);
            vec![Value::Bytes(data)]
        }
        Err(_) => failure("not base64"),
    }
}

fn check_text(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let [opcode, data, ..] = arguments else { return vec![] };
    let is_text = opcode.size() == Opcode::Text as usize;
    let is_wrong = is_text && std::str::from_utf8(data.bytes().unwrap_or_default()).is_err();
    vec![is_wrong.then(|| SendError::TextNotUtf8.to_string()).into()]
}

fn parse_url(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let is_http = arguments.get(1).and_then(Value::boolean) == Some(true);
    let url = bytes(arguments, 0);
    target(if is_http { Target::parse_http(url).map_err(in_terms_of_http) } else { Target::parse(url) })
}

fn in_terms_of_http(why: UrlError) -> UrlError {
    if why == UrlError::Scheme { UrlError::HttpScheme } else { why }
}

fn is_within(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let text = |index| std::str::from_utf8(bytes(arguments, index)).unwrap_or_default();
    let address = text(0).parse();
    vec![Network::parse(text(1)).map(|network| address.is_ok_and(|address| network.contains(address))).into()]
}

fn check_tls(context: &Rc<Context>, arguments: &[Value]) -> Reply {
    let empty = Table::default();
    let table = arguments.first().and_then(Value::table).unwrap_or(&empty);
    vec![tls::connector(context, table).err().map(tls::Fault::text).into()]
}

fn follow(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let followed = Target::parse(bytes(arguments, 0)).and_then(|target| target.follow(bytes(arguments, 1)));
    let is_http = arguments.get(2).and_then(Value::boolean) == Some(true);
    target(if is_http { followed.map_err(in_terms_of_http) } else { followed })
}

fn target(target: Result<Target, UrlError>) -> Reply {
    let target = match target {
        Ok(target) => target,
        Err(why) => return failure(why.to_string()),
    };
    let mut table = Table::default();
    table.set("url", target.url());
    table.set("secure", target.secure);
    table.set("host", target.host);
    table.set("zone", target.zone);
    table.set("port", target.port);
    table.set("resource", target.resource);
    table.set("host_header", target.host_header);
    table.set("authorization", target.authorization);
    vec![table.into()]
}

fn parse_address(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let text = |index: usize| arguments.get(index).and_then(Value::bytes).map(std::str::from_utf8);
    let (Some(Ok(url)), Ok(base)) = (text(0), text(1).transpose()) else { return failure("it is not UTF-8") };
    let address = match Address::parse(url, base) {
        Ok(address) => address,
        Err(why) => return failure(why.to_string()),
    };
    let mut table = Table::default();
    table.set("url", address.url);
    table.set("origin", address.origin);
    table.set("target", address.target);
    vec![table.into()]
}

fn check_header(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let name = arguments.first().and_then(Value::text).unwrap_or_default();
    let value = arguments.get(1).and_then(Value::bytes).unwrap_or_default();
    vec![Header::new(&name, value).err().map(|error| error.to_string()).into()]
}

fn virtual_clock(_: &Rc<Context>, _: &[Value]) -> Reply {
    vec![Handle::Clock(Rc::default()).into()]
}

fn set_clock(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    if let [Value::Handle(Handle::Clock(clock)), Value::Number(seconds), ..] = arguments {
        clock.set(*seconds);
    }
    vec![]
}

fn process(_: &Rc<Context>, _: &[Value]) -> Reply {
    vec![f64::from(Process::this().number()).into()]
}

fn not_ours(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let this = f64::from(Process::this().number());
    let is_ours =
        arguments.first().and_then(Value::number).is_some_and(|number| number.to_bits() == this.to_bits());
    vec![(!is_ours).then_some(NOT_OURS).into()]
}

fn first_unverified(_: &Rc<Context>, _: &[Value]) -> Reply {
    vec![(!UNVERIFIED_SAID.swap(true, Ordering::Relaxed)).into()]
}

fn give_back(context: &Rc<Context>, _: &[Value]) -> Reply {
    vec![(context.give_back(FEW) || context.ended.get() >= FEW).into()]
}

fn first_too_large(context: &Rc<Context>, _: &[Value]) -> Reply {
    vec![(!context.too_large_said.replace(true)).into()]
}
