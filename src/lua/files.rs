//! The files that a server answers with, as Lua sees them.

use std::ffi::CStr;
use std::path::Path;
use std::rc::Rc;

use super::value::{Reply, Value};
use super::{Context, Native, bytes};
use crate::files;

pub(super) const FUNCTIONS: &[(&CStr, Native)] = &[
    // find_file(folder, path): the path of a file below the folder, its length in bytes and its media type; nothing if there
    // is none that may be given out
    (c"find_file", find_file),
];

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
