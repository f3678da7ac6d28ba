//! The binding: what the Lua driver (`lua/`) is given to work with, and the module's entry point.
//!
//! Nothing here calls user code but what the driver calls for that (`raw`), so no borrow is alive when a handler runs;
//! and nothing here raises an error for what a user can cause. Failures are values: `nil` or `false`, and a string.
//!
//! The functions are plain ones over [`Value`]s. Lua's C API is called in [`raw`] only.

mod options;
mod raw;
mod session;
mod socket;
mod tls;
mod value;

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::http::headers::Header;
use crate::tls::{Connector, TlsOptions};
use crate::url::Target;
use tls::{Connectors, Fault, Files};
use value::{Handle, Reply, Table, Value, failure};

// The driver, compiled in so that one file is the whole library: `SOURCES`, found by build.rs.
include!(concat!(env!("OUT_DIR"), "/sources.rs"));

/// A function that Lua calls.
type Native = fn(&Rc<Context>, &[Value]) -> Reply;

/// All functions but those that are called for each message (`raw/hot.rs`), under their names.
const FUNCTIONS: &[&[(&CStr, Native)]] = &[OWN_FUNCTIONS, session::FUNCTIONS, socket::FUNCTIONS];

const OWN_FUNCTIONS: &[(&CStr, Native)] = &[
    // parse_url(url): a table of the fields of Target; or nil and what is wrong with the URL
    (c"parse_url", parse_url),
    // check_header(name, value): nil, or what is wrong with it
    (c"check_header", check_header),
    // virtual_clock(): a clock that says 0; set_clock(clock, seconds)
    (c"virtual_clock", virtual_clock),
    (c"set_clock", set_clock),
    // first_unverified(): true at the first call in the process
    (c"first_unverified", first_unverified),
];

/// Whether it has been said that a server was not verified: once is enough for all Lua states of the process, and
/// they have nothing else in common.
static UNVERIFIED_SAID: AtomicBool = AtomicBool::new(false);

/// Deliveries within deliveries: further down nothing is received, for Lua 5.1 has room for 200 calls of C within each
/// other. Two of them are ours in each delivery, and the rest is for what handlers call by pcall.
const DEEPEST: u32 = 25;

/// What belongs to one loading of the module.
#[derive(Debug)]
struct Context {
    /// Deliveries within deliveries.
    depth: Cell<u32>,
    /// Connections linger, and every call of the user's is to move them on.
    lingering: Cell<bool>,
    storage: RefCell<session::Shared>,
    sessions: session::Register,
    connectors: RefCell<Connectors>,
    files: RefCell<Files>,
}

impl Context {
    fn new() -> Self {
        Self {
            depth: Cell::new(0),
            lingering: Cell::new(false),
            storage: RefCell::default(),
            sessions: session::Register::default(),
            connectors: RefCell::default(),
            files: RefCell::default(),
        }
    }

    /// Whether deliveries are within deliveries to the end of what there may be of that.
    fn is_deep(&self) -> bool {
        self.depth.get() >= DEEPEST
    }

    /// What TLS connections with these options are made with; `table` is what they were read from.
    fn connector(&self, options: TlsOptions, table: &Table) -> Result<Connector, Fault> {
        self.connectors.borrow_mut().get(options, table)
    }
}

/// Seconds since 1970, as `socket.gettime` and `os.time` have them.
fn time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn parse_url(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let target = match Target::parse(arguments.first().and_then(Value::bytes).unwrap_or_default()) {
        Ok(target) => target,
        Err(why) => return failure(why.to_string()),
    };
    let mut table = Table::default();
    table.set("secure", target.secure);
    table.set("host", target.host);
    table.set("port", target.port);
    table.set("resource", target.resource);
    table.set("host_header", target.host_header);
    table.set("authorization", target.authorization);
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

fn first_unverified(_: &Rc<Context>, _: &[Value]) -> Reply {
    vec![(!UNVERIFIED_SAID.swap(true, Ordering::Relaxed)).into()]
}
