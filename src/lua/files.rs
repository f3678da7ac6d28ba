//! Files as Lua sees them: those whose names clients have a say in; and what all parts that read files have in common.

use std::ffi::CStr;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::value::{Reply, Value, failure};
use super::{Context, Native, bytes};
use crate::files;
use crate::net::describe;

pub(super) const FUNCTIONS: &[(&CStr, Native)] = &[
    // find_file(folder, path): the path of a file below the folder, its length in bytes and its media type; nothing if
    // there is none that may be given out
    (c"find_file", find_file),
    // read_file(path, most): the content of a regular file; false if there is none; or nil and the error, which is also
    // that it has more than `most` bytes
    (c"read_file", read_file),
];

fn read_file(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let most = arguments.get(1).map_or(0, Value::size);
    match files::read_if_any(&as_path(bytes(arguments, 0)), most as u64) {
        Ok(Some(content)) => vec![content.into()],
        Ok(None) => vec![false.into()],
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            failure(format!("it has more than {most} bytes"))
        }
        Err(error) => failure(describe(&error)),
    }
}

fn find_file(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let Ok(path) = std::str::from_utf8(bytes(arguments, 1)) else { return vec![] };
    let Some(file) = files::find(&as_path(bytes(arguments, 0)), path) else { return vec![] };
    vec![as_name(file.path).into(), (file.length as f64).into(), file.media_type.into()]
}

/// The contents of the regular file that an option names; an error if it has more than `most` bytes.
pub(super) fn contents(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    files::read(path, most).map_err(|error| describe(&error))
}

/// A file name, which may be any bytes on Unix.
pub(super) fn as_path(name: &[u8]) -> PathBuf {
    #[cfg(unix)]
    return PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(name.to_vec()));
    #[cfg(not(unix))]
    String::from_utf8_lossy(name).into_owned().into()
}

/// A file name for Lua.
fn as_name(path: PathBuf) -> Vec<u8> {
    #[cfg(unix)]
    return std::os::unix::ffi::OsStringExt::into_vec(path.into_os_string());
    #[cfg(not(unix))]
    path.to_string_lossy().into_owned().into_bytes()
}
