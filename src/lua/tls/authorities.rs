//! Reads the authorities to trust: those in the files that the options name, or else the system's.
//!
//! Every connection asks again, because files change while a program runs. A file that has not changed is not parsed
//! again, and a failure is never kept: the next connection tries again.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::files::{path, read, wrong_file};
use super::{Refusal, strings};
use crate::lua::Context;
use crate::lua::files::as_path;
use crate::lua::value::Table;
use crate::net::describe;
use crate::tls::{certificate, roots};

/// Certificates in DER.
type Certificates = Vec<Rc<[u8]>>;

/// The certificates of `cafile` and of all files in the folder `capath`; `None` if neither is given.
pub(super) fn named(context: &Context, table: &Table) -> Result<Option<Certificates>, Refusal> {
    let mut files = context.files.borrow_mut();
    let mut all = None;
    for file in strings(table, "cafile")? {
        let file = as_path(&file);
        let found = files.certificates(&file).map_err(|why| wrong_file("cafile", &why, &file))?;
        all.get_or_insert_with(Vec::new).extend_from_slice(found);
    }
    if let Some(folder) = path(table, "capath") {
        let found = files.certificates_in(&folder, |_| true);
        let mut found = found.map_err(|why| wrong_file("capath", &why, &folder))?;
        all.get_or_insert_with(Vec::new).append(&mut found);
    }
    Ok(all)
}

/// The system's certificates; `None` if the TLS library reads them itself.
///
/// # Errors
/// There are none. Says where they were looked for.
pub(super) fn of_system(context: &Context) -> Result<Option<Certificates>, String> {
    let Some(places) = roots::places() else { return Ok(None) };
    let mut files = context.files.borrow_mut();
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for file in places.files {
        match files.certificates(&file) {
            Ok(found) => all.extend_from_slice(found),
            Err(why) => wrong.push(format!("{}: {why}", file.display())),
        }
    }
    let mut seen = Vec::new();
    for folder in places.folders {
        // Several names may lead to the same folder.
        let real = fs::canonicalize(&folder).ok();
        if real.is_some() && seen.contains(&real) {
            continue;
        }
        seen.push(real);
        match files.certificates_in(&folder, roots::is_hashed) {
            Ok(mut found) => all.append(&mut found),
            Err(why) => wrong.push(format!("{}: {why}", folder.display())),
        }
    }
    if all.is_empty() {
        return Err(format!("the system's authorities cannot be read ({})", wrong.join("; ")));
    }
    all.sort_unstable();
    all.dedup();
    Ok(Some(all))
}

/// What tells a file from the same file changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    length: u64,
    /// When it was last changed; `None` if that cannot be told from a change that is still to come.
    changed: Option<SystemTime>,
    /// The device, and the file's number on it.
    #[cfg(unix)]
    node: (u64, u64),
}

/// How long a file must have been left alone when it is read, since file systems have coarse clocks.
const REST: Duration = Duration::from_secs(2);

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        // Not the time of the last modification, which programs can set.
        #[cfg(unix)]
        let changed = u64::try_from(metadata.ctime())
            .ok()
            .map(|seconds| UNIX_EPOCH + Duration::new(seconds, metadata.ctime_nsec() as u32));
        #[cfg(not(unix))]
        let changed = metadata.modified().ok();
        Self {
            length: metadata.len(),
            changed: changed.filter(|changed| {
                // If the clock was set back, the file seems to be from the future.
                SystemTime::now().duration_since(*changed).is_ok_and(|age| age >= REST)
            }),
            #[cfg(unix)]
            node: (metadata.dev(), metadata.ino()),
        }
    }
}

/// The authorities' files of a Lua state as last read. Checking a certificate takes 0.1 ms, a system has hundreds of
/// them, and a program that reconnects needs the same ones again.
#[derive(Debug, Default)]
pub(in crate::lua) struct Files {
    known: HashMap<PathBuf, (Stamp, Certificates)>,
    /// The total size of the certificates.
    bytes: usize,
}

impl Files {
    /// The maximum total size of the certificates that are kept, in bytes.
    const MOST: usize = 16 * 1024 * 1024;

    /// The certificates in a file.
    fn certificates(&mut self, path: &Path) -> Result<&[Rc<[u8]>], String> {
        let stamp =
            fs::metadata(path).map(|metadata| Stamp::of(&metadata)).map_err(|error| describe(&error))?;
        if self.known.get(path).is_none_or(|(before, _)| stamp.changed.is_none() || *before != stamp) {
            self.forget(path);
            let found = certificate::read_pem(&read(path)?).map_err(|error| error.to_string())?;
            self.keep(path, stamp, found);
        }
        Ok(self.known.get(path).map_or(&[], |(_, certificates)| certificates))
    }

    /// The certificates in the files of a folder with such names. It may hold other files, and each certificate under
    /// several names.
    fn certificates_in(
        &mut self,
        folder: &Path,
        is_meant: impl Fn(&str) -> bool,
    ) -> Result<Certificates, String> {
        let mut all = Vec::new();
        for entry in fs::read_dir(folder).map_err(|error| describe(&error))?.flatten() {
            if is_meant(&entry.file_name().to_string_lossy())
                && let Ok(certificates) = self.certificates(&entry.path())
            {
                all.extend_from_slice(certificates);
            }
        }
        if all.is_empty() {
            return Err("no PEM certificate in it".into());
        }
        // The order of a folder's entries means nothing, and may change.
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    fn keep(&mut self, path: &Path, stamp: Stamp, certificates: Vec<Vec<u8>>) {
        let bytes = certificates.iter().map(Vec::len).sum::<usize>();
        if self.bytes + bytes > Self::MOST {
            *self = Self::default();
        }
        self.bytes += bytes;
        let certificates = certificates.into_iter().map(Rc::from).collect();
        self.known.insert(path.to_owned(), (stamp, certificates));
    }

    fn forget(&mut self, path: &Path) {
        if let Some((_, certificates)) = self.known.remove(path) {
            self.bytes -= certificates.iter().map(|der| der.len()).sum::<usize>();
        }
    }
}
