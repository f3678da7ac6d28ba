//! The example in Rust talks to a server.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use luws::protocol::connection::{Config, Event as Received};
use luws::protocol::frame::Opcode;
use luws::session::{Event, Session};

#[path = "../examples/blocking_client.rs"]
mod blocking_client;

use blocking_client::Client;

/// Serves one connection: refuses it if it is not for /echo, pings before each message that it sends back, and answers
/// the close frame.
fn serve(mut socket: TcpStream) {
    let mut session = Session::server(None, Config::default()).unwrap();
    let mut messages = Vec::new();
    let mut pongs = 0;
    loop {
        let is_path_known = match session.next_event().unwrap() {
            Some(Event::Request(request)) => Some(request.resource == "/echo"),
            Some(Event::Received(Received::Message { data, .. })) => {
                messages.push(data.to_vec());
                None
            }
            Some(Event::Received(Received::Pong(_))) => {
                pongs += 1;
                None
            }
            Some(Event::Received(Received::Close(_))) => {
                assert_eq!(pongs, 2, "one for each message");
                session.reply_close();
                None
            }
            Some(event) => panic!("{event:?}"),
            None => {
                while session.sendable_len() > 0 {
                    session.send_with(|bytes| socket.write(bytes)).unwrap();
                }
                if session.receive_with(100, |space| socket.read(space)).unwrap().is_end() {
                    return;
                }
                None
            }
        };
        match is_path_known {
            Some(true) => session.accept(None),
            Some(false) => session.refuse(404, "no such path"),
            None => {}
        }
        for message in messages.drain(..) {
            session.send(Opcode::Ping, b"?", true).unwrap();
            session.send(Opcode::Text, &message, true).unwrap();
        }
    }
}

/// Starts a server for one connection, and returns its URL and the thread.
fn server(path: &str) -> (String, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}{path}", listener.local_addr().unwrap());
    (url, thread::spawn(move || serve(listener.accept().unwrap().0)))
}

#[test]
fn it_opens_sends_receives_answers_pings_and_closes() {
    let (url, server) = server("/echo");
    let mut client = Client::open(&url).unwrap();
    let large = "é".repeat(20_000);
    for text in ["hello", &large] {
        client.send(text).unwrap();
        assert_eq!(client.receive().unwrap().as_deref(), Some(text.as_bytes()));
    }
    client.close().unwrap();
    assert_eq!(client.receive().unwrap(), None);
    drop(client);
    server.join().unwrap();
}

#[test]
fn it_says_why_a_server_has_refused() {
    let (url, server) = server("/other");
    let error = Client::open(&url).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
    server.join().unwrap();
}
