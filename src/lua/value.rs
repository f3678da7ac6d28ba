//! Lua values as the safe part of the binding sees them: owned, and independent of any Lua state.
//!
//! Knows nothing of Lua's C API; [`raw`](super::raw) converts them.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::listener::LuaListener;
use super::poller::LuaPoller;
use super::raw::SignalWatch;
use super::relay::LuaRelay;
use super::room::Room;
use super::session::LuaSession;
use super::socket::Socket;
use super::traffic::Traffic;
use crate::cookies::Jar;
use crate::http::{Header, HeaderError};
use crate::net::tcp::Dial;
use crate::tls::Acceptor;

/// An object that Lua holds as userdata. Copies share the object.
#[derive(Clone, Debug)]
pub(super) enum Handle {
    Session(Rc<LuaSession>),
    Socket(Rc<Socket>),
    Dial(Rc<RefCell<Dial>>),
    Poller(Rc<RefCell<LuaPoller>>),
    Jar(Rc<RefCell<Jar>>),
    Acceptor(Rc<Acceptor>),
    Listener(Rc<LuaListener>),
    /// A signal that is watched, until that is ended.
    Signal(Rc<RefCell<Option<SignalWatch>>>),
    Room(Rc<RefCell<Room>>),
    Traffic(Rc<Traffic>),
    Relay(Rc<RefCell<LuaRelay>>),
    /// A virtual clock: the time it shows, in seconds.
    Clock(Rc<Cell<f64>>),
}

/// A value from Lua, or for it.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Nil,
    Boolean(bool),
    Number(f64),
    Bytes(Vec<u8>),
    Table(Table),
    Handle(Handle),
    /// A function, a coroutine, or another library's userdata.
    Other,
}

impl Value {
    pub(super) fn boolean(&self) -> Option<bool> {
        if let Self::Boolean(value) = self { Some(*value) } else { None }
    }

    pub(super) fn number(&self) -> Option<f64> {
        if let Self::Number(value) = self { Some(*value) } else { None }
    }

    /// A size in bytes. Rust's conversion saturates: negative numbers and NaN become 0.
    pub(super) fn size(&self) -> usize {
        self.number().unwrap_or(0.0) as usize
    }

    pub(super) fn bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(value) = self { Some(value) } else { None }
    }

    /// A string as text, with invalid UTF-8 replaced.
    pub(super) fn text(&self) -> Option<Cow<'_, str>> {
        self.bytes().map(String::from_utf8_lossy)
    }

    pub(super) fn table(&self) -> Option<&Table> {
        if let Self::Table(value) = self { Some(value) } else { None }
    }

    /// The headers of an array of `{name, value}`.
    pub(super) fn headers(&self) -> Result<Vec<Header>, HeaderError> {
        let mut headers = Vec::new();
        for pair in self.table().map(Table::elements).unwrap_or_default() {
            if let [name, value] = &pair.table().map(Table::elements).unwrap_or_default()[..] {
                let (name, value) = (name.text().unwrap_or_default(), value.bytes().unwrap_or_default());
                headers.push(Header::new(&name, value)?);
            }
        }
        Ok(headers)
    }
}

/// A table's own pairs; its metatable is ignored.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(pub(super) Vec<(Value, Value)>);

impl Table {
    pub(super) fn get(&self, name: &str) -> &Value {
        let is_name = |key: &Value| matches!(key, Value::Bytes(bytes) if bytes == name.as_bytes());
        self.0.iter().find(|(key, _)| is_name(key)).map_or(&Value::Nil, |(_, value)| value)
    }

    pub(super) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.push((name.into(), value.into()));
    }

    /// The values of an array, in order.
    pub(super) fn elements(&self) -> Vec<&Value> {
        let mut numbered: Vec<_> =
            self.0.iter().filter_map(|(key, value)| Some((key.number()?, value))).collect();
        numbered.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        numbered.into_iter().map(|(_, value)| value).collect()
    }
}

impl<T: Into<Value>> FromIterator<T> for Table {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let numbered = values.into_iter().enumerate();
        Self(numbered.map(|(i, value)| (Value::Number((i + 1) as f64), value.into())).collect())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Number(value as f64)
    }
}

impl From<u16> for Value {
    fn from(value: u16) -> Self {
        Self::Number(value.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Bytes(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Bytes(text.into())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Table> for Value {
    fn from(table: Table) -> Self {
        Self::Table(table)
    }
}

impl From<Handle> for Value {
    fn from(handle: Handle) -> Self {
        Self::Handle(handle)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nil, Into::into)
    }
}

/// What a function returns to Lua.
pub(super) type Reply = Vec<Value>;

/// `nil` and a message. Everything here fails this way, because Lua programs expect strings.
pub(super) fn failure(why: impl Into<Value>) -> Reply {
    vec![Value::Nil, why.into()]
}
