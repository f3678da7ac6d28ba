//! Files whose names clients have a say in: those below a folder by the path of a URL, which is decoded, and out of
//! which nothing is let; and the content of small ones.

use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use percent_encoding::percent_decode_str;

/// A regular file below a folder: see [`find`].
///
/// ```
/// use luws::files;
///
/// let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
/// assert!(files::find(root, "/src/lib.rs").is_some());
/// assert!(files::find(root, "/../etc/passwd").is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it really is: no symbolic link is in it.
    pub path: PathBuf,
    /// In bytes.
    pub length: u64,
    /// The media type, by the extension of its name.
    pub media_type: &'static str,
}

/// The file that a URL's path means below the folder `root`; `None` if there is none, or it is elsewhere: through `..`,
/// or by a symbolic link. %XX is decoded once.
#[must_use]
pub fn find(root: &Path, path: &str) -> Option<File> {
    let decoded = percent_decode_str(path).decode_utf8().ok()?;
    if decoded.contains('\0') {
        return None;
    }
    let relative = Path::new(decoded.trim_start_matches('/'));
    if !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return None;
    }
    let root = fs::canonicalize(root).ok()?;
    let path = fs::canonicalize(root.join(relative)).ok()?;
    // A path that ends with a slash means a folder.
    let found = fs::metadata(&path).ok().filter(|found| found.is_file() && !decoded.ends_with('/'))?;
    if !path.starts_with(&root) {
        return None;
    }
    let media_type = media_type(&path);
    Some(File { path, length: found.len(), media_type })
}

/// The content of a regular file. Others may have no end, and to open a FIFO could take forever.
///
/// # Errors
/// `InvalidInput` if it is something else, `FileTooLarge` if it has more than `most` bytes, and the system's errors.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut content = Vec::new();
    fs::File::open(path)?.take(most + 1).read_to_end(&mut content)?;
    if content.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("over {most} bytes")));
    }
    Ok(content)
}

/// The same, where there may be no file of that name: `None`, as for something that is not a regular file.
///
/// # Errors
/// It has more than `most` bytes, or it cannot be read.
pub fn read_if_any(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    use io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
    match read(path, most) {
        Err(error) if matches!(error.kind(), InvalidFilename | InvalidInput | NotADirectory | NotFound) => {
            Ok(None)
        }
        content => content.map(Some),
    }
}

fn media_type(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "txt" | "md" | "log" => "text/plain; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "xml" => "text/xml; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "wasm" => "application/wasm",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "mp3" => "audio/mpeg",
        "ogg" => "audio/ogg",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_files_below_the_folder_are_found() {
        let base = std::env::temp_dir().join(format!("luws-files-{}", std::process::id()));
        let root = base.join("root");
        fs::create_dir_all(root.join("sub")).unwrap();
        for name in ["a.html", "sub/b c.TXT", "%41", "..hidden"] {
            fs::write(root.join(name), name).unwrap();
        }
        fs::write(base.join("secret"), "secret").unwrap();
        symlink(base.join("secret"), root.join("out")).unwrap();
        symlink(root.join("a.html"), root.join("in.css")).unwrap();
        symlink(&base, root.join("up")).unwrap();
        for (path, expected) in [
            ("/a.html", Some("text/html; charset=utf-8")),
            ("a.html", Some("text/html; charset=utf-8")),
            ("//a.html", Some("text/html; charset=utf-8")),
            ("/./a.html", Some("text/html; charset=utf-8")),
            ("/sub/b%20c.TXT", Some("text/plain; charset=utf-8")),
            ("/in.css", Some("text/html; charset=utf-8")),
            ("/..hidden", Some("application/octet-stream")),
            ("/%2541", Some("application/octet-stream")),
            ("/%41", None),
            ("/", None),
            ("", None),
            ("/sub", None),
            ("/sub/", None),
            ("/a.html/", None),
            ("/a.html/x", None),
            ("/nothing", None),
            ("/../secret", None),
            ("/sub/../a.html", None),
            ("/sub/%2e%2e/%2e%2e/secret", None),
            ("/%2e%2e%2fsecret", None),
            ("/out", None),
            ("/up/secret", None),
            ("/up/root/a.html", Some("text/html; charset=utf-8")),
            ("/a.html%00", None),
            ("/%ff", None),
        ] {
            let found = find(&root, path);
            assert_eq!(found.as_ref().map(|file| file.media_type), expected, "{path}");
        }
        assert_eq!(find(&root, "/a.html").unwrap().length, 6);
        assert_eq!(find(&base.join("nowhere"), "/a.html"), None);
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn only_regular_files_are_read() {
        let folder = std::env::temp_dir().join(format!("luws-read-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = |name: &str| folder.join(name);
        fs::write(path("file"), "0123456789").unwrap();
        fs::write(path("empty"), "").unwrap();
        symlink(path("loop"), path("loop")).unwrap();
        symlink("/dev/zero", path("device")).unwrap();
        assert_eq!(read(&path("file"), 10).unwrap(), b"0123456789");
        assert_eq!(read_if_any(&path("empty"), 10).unwrap(), Some(Vec::new()));
        for name in ["none", "file/none", "", "device", &"x".repeat(256), "a\0b"] {
            assert!(read(&path(name), 10).is_err(), "{name}");
            assert_eq!(read_if_any(&path(name), 10).ok(), Some(None), "{name}");
        }
        assert_eq!(read(&path("device"), 10).unwrap_err().to_string(), "not a regular file");
        assert_eq!(read_if_any(&path("file"), 9).unwrap_err().to_string(), "over 9 bytes");
        assert!(read_if_any(&path("loop"), 10).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
