//! Where the system keeps the certificate authorities that it trusts. Reads none of them.

use std::path::PathBuf;

/// Places that may not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// PEM files.
    pub files: Vec<PathBuf>,
    /// Folders of PEM files, in which OpenSSL looks only at names like `4a6481c9.0` (see [`is_hashed`]).
    pub folders: Vec<PathBuf>,
}

/// Where they are now; `None` if the TLS library asks the system itself. As in OpenSSL, the environment variables
/// `SSL_CERT_FILE` and `SSL_CERT_DIR` replace the system's file and its folders.
#[must_use]
#[cfg(not(any(windows, target_vendor = "apple")))]
pub fn places() -> Option<Places> {
    use std::env;
    use std::path::Path;
    // Where this OpenSSL was built to look: `OPENSSLDIR: "/usr/lib/ssl"`.
    let built_in = openssl::version::dir().split('"').nth(1).map(Path::new);
    let files = match env::var_os("SSL_CERT_FILE") {
        Some(file) => vec![file.into()],
        None => openssl_probe::probe()
            .cert_file
            .into_iter()
            .chain(built_in.map(|folder| folder.join("cert.pem")))
            .collect(),
    };
    let folders = match env::var_os("SSL_CERT_DIR") {
        Some(folders) => env::split_paths(&folders).collect(),
        None => built_in
            .map(|folder| folder.join("certs"))
            .into_iter()
            .chain(openssl_probe::candidate_cert_dirs().map(Path::to_owned))
            .collect(),
    };
    Some(Places { files, folders })
}

#[must_use]
#[cfg(any(windows, target_vendor = "apple"))]
pub fn places() -> Option<Places> {
    None
}

/// Whether a file in one of the folders is an authority's: its name is the hash of a subject in eight hexadecimal
/// digits, and a number.
#[must_use]
pub fn is_hashed(name: &str) -> bool {
    name.split_once('.').is_some_and(|(hash, number)| {
        hash.len() == 8
            && hash.bytes().all(|digit| digit.is_ascii_hexdigit())
            && !number.is_empty()
            && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::is_hashed;

    #[test]
    fn names_that_are_a_hash_and_a_number_are_authorities() {
        for (name, expected) in [
            ("4a6481c9.0", true),
            ("4A6481C9.12", true),
            ("4a6481c9.r0", false), // a revocation list
            ("4a6481c9.", false),
            ("4a6481c9", false),
            ("4a6481c.0", false),
            ("ca-certificates.crt", false),
        ] {
            assert_eq!(is_hashed(name), expected, "{name}");
        }
    }
}
