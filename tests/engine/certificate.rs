//! A server's end of TLS with a certificate made for the test.

use luws::tls::identity::Identity;
use luws::tls::{Acceptor, ServerOptions};
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::{X509, X509NameBuilder};

/// A self-signed certificate for this name, and its key.
pub(crate) fn self_signed(name: &str) -> (X509, PKey<Private>) {
    let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&curve).unwrap()).unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut certificate = X509::builder().unwrap();
    certificate.set_version(2).unwrap();
    certificate.set_subject_name(&subject).unwrap();
    certificate.set_issuer_name(&subject).unwrap();
    certificate.set_pubkey(&key).unwrap();
    certificate.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    certificate.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    certificate.sign(&key, MessageDigest::sha256()).unwrap();
    (certificate.build(), key)
}

/// An identity with a self-signed certificate for this name.
pub(crate) fn identity(name: &str) -> Identity {
    let (certificate, key) = self_signed(name);
    Identity::from_pem(&certificate.to_pem().unwrap(), &key.private_key_to_pem_pkcs8().unwrap()).unwrap()
}

/// A server with a self-signed certificate.
pub(crate) fn acceptor() -> Acceptor {
    ServerOptions::new(identity("localhost")).acceptor().unwrap()
}
