//! Jars of cookies as Lua sees them, and the files that they are kept in.

use std::ffi::CStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::files::{as_path, contents};
use super::value::{Handle, Reply, Value, failure};
use super::{Context, Native, bytes};
use crate::cookies::Jar;
use crate::net::describe;
use crate::net::process::Process;
use crate::url::Target;

/// The maximum size of a file, in bytes: a full jar of the largest cookies has a little less.
const LARGEST_FILE: u64 = 20 * 1024 * 1024;

/// The time is in seconds since 1970.
pub(super) const FUNCTIONS: &[(&CStr, Native)] = &[
    // jar(): an empty jar
    (c"jar", jar),
    // jar_set(jar, time, url, line): keeps the cookie of a Set-Cookie header; returns true, or nil and why not
    (c"jar_set", jar_set),
    // jar_header(jar, time, url): the value of the Cookie header; nil if there are no cookies for it; or nil and the
    // error
    (c"jar_header", jar_header),
    // jar_encode(jar, time): the text of a cookie file; or nil and the error
    (c"jar_encode", jar_encode),
    // jar_decode(jar, time, text): adds the cookies of such a text; returns true, or nil and what is wrong with it
    (c"jar_decode", jar_decode),
    // jar_save(jar, time, path), jar_load(jar, time, path): the same with a file; true, or nil and the error
    (c"jar_save", jar_save),
    (c"jar_load", jar_load),
];

fn jar(_: &Rc<Context>, _: &[Value]) -> Reply {
    vec![Handle::Jar(Rc::default()).into()]
}

/// Calls `f` with the jar and the time, which are the first two arguments.
fn with(arguments: &[Value], f: impl FnOnce(&mut Jar, i64) -> Result<Value, String>) -> Reply {
    let [Value::Handle(Handle::Jar(jar)), Value::Number(time), ..] = arguments else {
        return failure("not a jar");
    };
    // Nothing of Lua's is called meanwhile, so nobody else can have it.
    let Ok(mut jar) = jar.try_borrow_mut() else { return failure("busy") };
    f(&mut jar, time.floor() as i64).map_or_else(failure, |value| vec![value])
}

fn target(arguments: &[Value]) -> Result<Target, String> {
    Target::parse_http(bytes(arguments, 2)).map_err(|error| format!("the URL is not valid: {error}"))
}

fn jar_set(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    with(arguments, |jar, now| {
        let target = target(arguments)?;
        jar.set(&target, bytes(arguments, 3), now).map_err(|error| error.to_string())?;
        Ok(true.into())
    })
}

fn jar_header(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    with(arguments, |jar, now| {
        let header = jar.header(&target(arguments)?, now);
        Ok(header.map_err(|error| error.to_string())?.into())
    })
}

fn jar_encode(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    with(arguments, |jar, now| Ok(jar.encode(now).map_err(|error| error.to_string())?.into()))
}

fn jar_decode(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    with(arguments, |jar, now| {
        jar.decode(bytes(arguments, 2), now).map_err(|error| error.to_string())?;
        Ok(true.into())
    })
}

fn jar_load(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    with(arguments, |jar, now| {
        let path = as_path(bytes(arguments, 2));
        let loaded = contents(&path, LARGEST_FILE)
            .and_then(|text| jar.decode(&text, now).map_err(|error| error.to_string()));
        loaded.map_err(|why| format!("{}: {why}", path.display()))?;
        Ok(true.into())
    })
}

fn jar_save(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    with(arguments, |jar, now| {
        let path = as_path(bytes(arguments, 2));
        let text = jar.encode(now).map_err(|error| error.to_string())?;
        save(&path, &text).map_err(|error| format!("{}: {}", path.display(), describe(&error)))?;
        Ok(true.into())
    })
}

/// Writes a file that only its owner may read. There is never half a file: it takes the place of the one before when it
/// is complete. What is not a regular file is written to as it is.
fn save(path: &Path, text: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()); // where a link leads
    if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
        return OpenOptions::new().write(true).open(&path)?.write_all(text);
    }
    let mut name = path.clone().into_os_string();
    name.push(format!(".{}", Process::this().number()));
    let new = PathBuf::from(name);
    let written = create(&new)
        .and_then(|mut file| file.write_all(text).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, &path));
    if written.is_err() {
        let _ = fs::remove_file(&new); // the error before is the one that matters
    }
    written
}

/// Creates a file that is not there yet.
fn create(path: &Path) -> io::Result<File> {
    let _ = fs::remove_file(path); // left by a process that was ended
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
