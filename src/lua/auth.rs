//! Authentication to the server: the values of Authorization headers, for the driver to send.

use std::ffi::CStr;
use std::rc::Rc;

use super::value::{Handle, Reply, Table, Value, failure};
use super::{Context, Native, bytes};
use crate::http::auth::{self, Challenge, Credentials, Request, Scheme, Tried};
use crate::session::token;

pub(super) const FUNCTIONS: &[(&CStr, Native)] = &[
    // token(): a text that nobody can guess, of 32 hexadecimal digits; or nil and why there is none
    (c"token", new_token),
    // auth_basic(user, password), auth_bearer(token): the value of the header; or nil and why there is none
    (c"auth_basic", basic),
    (c"auth_bearer", bearer),
    // auth_check(user, password): nil, or why they cannot be used in any scheme
    (c"auth_check", check),
    // auth_answer(session, user, password, only, tried, uri, seed): the answer to a session's refusal: the value of the
    // header, and a number for what has been tried then; or nil and the schemes that the server takes. `only`: the name
    // of the only scheme to use, or nil
    (c"auth_answer", answer),
    // auth_same(given, known): whether two secrets are the same; takes as long for each that is wrong
    (c"auth_same", same),
    // auth_hide(text, is_message, secrets, values): a peer's words, or one of our messages that ends in them, without
    // the secrets in an array, and without those in the values of headers such as Authorization
    (c"auth_hide", hide),
];

/// What has been tried, as numbers for the driver.
const TRIED: [Tried; 4] = [Tried::Nothing, Tried::Basic, Tried::Digest, Tried::FreshDigest];

/// What a number of the driver says was tried; nothing, if it is none of them.
pub(super) fn tried(number: &Value) -> Tried {
    TRIED.get(number.size()).copied().unwrap_or_default()
}

/// The number for what was tried.
pub(super) fn number_of(tried: Tried) -> Value {
    TRIED.iter().position(|known| *known == tried).into()
}

fn credentials(arguments: &[Value], index: usize) -> Result<Credentials, String> {
    Credentials::new(bytes(arguments, index), bytes(arguments, index + 1)).map_err(|error| error.to_string())
}

fn basic(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let value = credentials(arguments, 0).and_then(|known| known.basic().map_err(|error| error.to_string()));
    value.map_or_else(failure, |value| vec![value.into()])
}

fn bearer(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    match auth::bearer(bytes(arguments, 0)) {
        Ok(value) => vec![value.into()],
        Err(error) => failure(error.to_string()),
    }
}

fn check(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    vec![credentials(arguments, 0).err().into()]
}

fn answer(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let [Value::Handle(Handle::Session(session)), _, _, only, tried, uri, seed, ..] = arguments else {
        return vec![];
    };
    let challenges = session.ask(|session| {
        session.response().map(|response| Challenge::all(&response.headers, "WWW-Authenticate"))
    });
    let challenges = challenges.unwrap_or_default();
    let only = only.text().and_then(|name| Scheme::named(&name));
    let Ok(cnonce) = token(seed.number().map(|seed| seed as u64)) else { return failure("") };
    let uri = uri.text().unwrap_or_default();
    let request = Request { method: "GET", uri: &uri, cnonce: &cnonce };
    let known = credentials(arguments, 1).ok();
    match known.and_then(|known| known.answer(&challenges, only, self::tried(tried), &request)) {
        Some((value, tried)) => vec![value.into(), number_of(tried)],
        None => failure(auth::schemes(&challenges)),
    }
}

fn same(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    vec![auth::same(bytes(arguments, 0), bytes(arguments, 1)).into()]
}

fn hide(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let array =
        |index: usize| arguments.get(index).and_then(Value::table).map(Table::elements).unwrap_or_default();
    let mut secrets: Vec<_> = array(2).into_iter().filter_map(Value::bytes).map(<[u8]>::to_vec).collect();
    secrets.extend(array(3).into_iter().filter_map(Value::bytes).flat_map(auth::secrets_of));
    let text = String::from_utf8_lossy(bytes(arguments, 0));
    let is_message = arguments.get(1).and_then(Value::boolean) == Some(true);
    let hidden = if is_message { auth::hidden_in_message } else { auth::hidden_in };
    vec![hidden(&text, &secrets).into()]
}

fn new_token(_: &Rc<Context>, _: &[Value]) -> Reply {
    match token(None) {
        Ok(token) => vec![token.into()],
        Err(error) => failure(error.text),
    }
}
