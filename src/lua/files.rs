//! Files whose names clients have a say in, as Lua sees them.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use super::value::{Reply, Value, failure};
use super::{Context, Native, bytes};
use crate::files;
use crate::net::describe;

pub(super) const FUNCTIONS: &[(&CStr, Native)] = &[
    // find_file(folder, path): the path of a file below the folder, its length in bytes and its media type; nothing if there
    // is none that may be given out
    (c"find_file", find_file),
    // read_file(path, most): the content of a regular file of at most so many bytes; false if there is none; or nil and the
    // error
    (c"read_file", read_file),
];

fn read_file(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let most = arguments.get(1).map_or(0, Value::size);
    match files::read(Path::new(OsStr::from_bytes(bytes(arguments, 0))), most as u64) {
        Ok(Some(content)) => vec![content.into()],
        Ok(None) => vec![false.into()],
        Err(error) => failure(describe(&error)),
    }
}

fn find_file(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let (Ok(root), Ok(path)) =
        (std::str::from_utf8(bytes(arguments, 0)), std::str::from_utf8(bytes(arguments, 1)))
    else {
        return vec![];
    };
    let Some(file) = files::find(Path::new(root), path) else { return vec![] };
    let Some(path) = file.path.to_str() else { return vec![] };
    vec![path.into(), (file.length as f64).into(), file.media_type.into()]
}
