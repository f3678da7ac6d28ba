//! What a server's TLS options do: certificates by name, those of clients, protocols, versions.

use luws::protocol::connection::Config;
use luws::session::Session;
use luws::tls::{Acceptor, Clients, Crypto, Peer, ServerOptions, TlsOptions, Verify, Version};

use crate::certificate::{identity, self_signed};
use crate::feeding::{self, transfer};

fn config() -> Config {
    Config { max_message_size: 1 << 20, seed: Some(1), ..Config::default() }
}

/// What client and server know of each other after the handshake; or why the server says that it failed.
fn meet(acceptor: &Acceptor, options: TlsOptions, host: &str) -> Result<(Peer, Peer), String> {
    let connector = TlsOptions { verify: Verify::Nothing, ..options }.connector().unwrap();
    let client = Session::client(&feeding::request(), Some((&connector, host)), config());
    let mut client = client.map_err(|failure| failure.text)?;
    let mut server = Session::server(Some(acceptor), config()).unwrap();
    for _ in 0..4 {
        transfer(&mut client, &mut server, usize::MAX);
        transfer(&mut server, &mut client, usize::MAX);
    }
    match server.next_event() {
        Err(failure) => Err(failure.text),
        Ok(_) => Ok((client.tls_peer().unwrap(), server.tls_peer().unwrap())),
    }
}

fn subject(peer: &Peer) -> Option<&str> {
    peer.certificate.as_ref()?.subject.as_deref()
}

#[test]
fn a_client_gets_the_certificate_for_the_name_that_it_asks_for() {
    let options = ServerOptions {
        named: vec![("*.example.com".into(), identity("star")), ("a.example.com".into(), identity("exact"))],
        ..ServerOptions::new(identity("first"))
    };
    let acceptor = options.acceptor().unwrap();
    for max in [Version::Tls12, Version::Tls13] {
        for (host, expected) in [
            ("a.example.com", "CN=exact"),
            ("B.example.com", "CN=star"),
            ("example.com", "CN=first"),
            ("127.0.0.1", "CN=first"), // asks for none
        ] {
            let client = TlsOptions { max: Some(max), ..TlsOptions::default() };
            let (server, _) = meet(&acceptor, client, host).unwrap();
            assert_eq!(subject(&server), Some(expected), "{host}");
        }
    }
}

#[test]
fn clients_are_asked_for_certificates() {
    let (known, key) = self_signed("known");
    let known_identity = luws::tls::identity::Identity::from_pem(
        &known.to_pem().unwrap(),
        &key.private_key_to_pem_pkcs8().unwrap(),
    );
    let known_identity = known_identity.unwrap();
    let authorities = vec![known.to_der().unwrap().into()];
    for max in [Version::Tls12, Version::Tls13] {
        for (clients, theirs, expected) in [
            (Clients::Anonymous, None, Ok((false, None))),
            (Clients::Anonymous, Some(known_identity.clone()), Ok((false, None))),
            (Clients::Known, None, Ok((false, None))),
            (Clients::Known, Some(known_identity.clone()), Ok((true, Some("CN=known")))),
            (Clients::Known, Some(identity("stranger")), Err("certificate verify failed")),
            (Clients::Identified, Some(known_identity.clone()), Ok((true, Some("CN=known")))),
            (Clients::Identified, None, Err("peer did not return a certificate")),
            (Clients::Identified, Some(identity("stranger")), Err("certificate verify failed")),
        ] {
            let options = ServerOptions {
                clients,
                authorities: authorities.clone(),
                ..ServerOptions::new(identity("localhost"))
            };
            let client = TlsOptions { max: Some(max), identity: theirs, ..TlsOptions::default() };
            let met = meet(&options.acceptor().unwrap(), client, "localhost");
            match (&met, expected) {
                (Ok((_, client)), Ok(expected)) => {
                    assert_eq!((client.verified, subject(client)), expected, "{clients:?}");
                }
                (Err(why), Err(expected)) => assert!(why.starts_with(expected), "{clients:?}: {why}"),
                _ => panic!("{clients:?}: {met:?}"),
            }
        }
    }
}

#[test]
fn the_protocol_is_the_first_of_the_servers_that_the_client_offers() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let options = ServerOptions { alpn: names(&["b", "a"]), ..ServerOptions::new(identity("localhost")) };
    let acceptor = options.acceptor().unwrap();
    for (offered, expected) in [
        (names(&["a", "b"]), Ok(Some("b".to_owned()))),
        (names(&["a"]), Ok(Some("a".to_owned()))),
        (names(&[]), Ok(None)),
        (names(&["c"]), Err("no application protocol")),
    ] {
        let met = meet(&acceptor, TlsOptions { alpn: offered, ..TlsOptions::default() }, "localhost");
        match (met, expected) {
            (Ok((server, _)), Ok(expected)) => assert_eq!(server.alpn, expected),
            (Err(why), Err(expected)) => assert_eq!(why, expected),
            (met, expected) => panic!("{met:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn versions_and_ciphers_are_those_of_the_options() {
    let at_most = |max| TlsOptions { min: Version::Tls10, max: Some(max), ..TlsOptions::default() };
    let crypto = |ciphers: &str| Crypto { ciphers: Some(ciphers.into()), ..Crypto::default() };
    for (min, max, ciphers, client, is_met) in [
        (Version::Tls12, None, None, at_most(Version::Tls12), true),
        (Version::Tls12, None, None, at_most(Version::Tls11), false),
        (Version::Tls13, None, None, at_most(Version::Tls12), false),
        (Version::Tls10, Some(Version::Tls11), None, at_most(Version::Tls11), true),
        (Version::Tls10, None, None, at_most(Version::Tls10), true),
        (
            Version::Tls12,
            Some(Version::Tls12),
            Some("ECDHE-ECDSA-AES256-GCM-SHA384"),
            at_most(Version::Tls13),
            true,
        ),
        (
            Version::Tls12,
            None,
            Some("ECDHE-ECDSA-AES256-GCM-SHA384"),
            TlsOptions { crypto: crypto("ECDHE-ECDSA-AES128-GCM-SHA256"), ..at_most(Version::Tls12) },
            false,
        ),
    ] {
        let options = ServerOptions {
            min,
            max,
            crypto: ciphers.map(crypto).unwrap_or_default(),
            ..ServerOptions::new(identity("localhost"))
        };
        let met = meet(&options.acceptor().unwrap(), client, "localhost");
        assert_eq!(met.is_ok(), is_met, "{min:?} to {max:?}: {met:?}");
    }
}

#[test]
fn a_wrong_option_is_told_with_the_name_that_it_is_for() {
    let wrong = Crypto { ciphers: Some("NONE-SUCH".into()), ..Crypto::default() };
    let options = ServerOptions { crypto: wrong, ..ServerOptions::new(identity("localhost")) };
    let (error, name) = options.acceptor().unwrap_err();
    assert_eq!((error.to_string().as_str(), name), ("no cipher match", None));
    let options = ServerOptions { named: vec![("a.test".into(), identity("a.test"))], ..options };
    assert_eq!(options.acceptor().unwrap_err().1, Some("a.test"));
}
