//! Packets of Socket.IO: any bytes are read in an orderly way, and any values are read as they were written, with their
//! binary values in any order.

use luws::fuzzing;
use luws::json::{Document, Token};
use luws::socketio::{self, Kind, Packet};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases;

/// A value, in which binary values may be.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Null,
    Boolean(bool),
    Integer(i64),
    Text(String),
    Binary(usize),
    Array(Vec<Value>),
    Object(Vec<(String, Value)>),
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Boolean),
        any::<i64>().prop_map(Value::Integer),
        "\\PC{0,8}".prop_map(Value::Text),
        (0..5_usize).prop_map(Value::Binary),
    ];
    leaf.prop_recursive(6, 64, 5, |inner| {
        // Sorted names are written in this order, and so are the binary values.
        let members = prop::collection::btree_map("[a-z]{0,3}", inner.clone(), 0..5);
        prop_oneof![
            vec(inner, 0..5).prop_map(Value::Array),
            members.prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Adds a value to a document, and its binary values to a list.
fn add(document: &mut Document, value: &Value, binaries: &mut Vec<usize>) {
    match value {
        Value::Null => drop(document.push(Token::Null).unwrap()),
        Value::Boolean(value) => drop(document.push(Token::Boolean(*value)).unwrap()),
        Value::Integer(value) => drop(document.push(Token::Integer(*value)).unwrap()),
        Value::Text(text) => drop(document.push_text(text).unwrap()),
        Value::Binary(content) => {
            document.push(Token::Foreign(binaries.len())).unwrap();
            binaries.push(*content);
        }
        Value::Array(elements) => {
            let place = document.push(Token::Null).unwrap();
            for element in elements {
                add(document, element, binaries);
            }
            document.end_array(place, elements.len());
        }
        Value::Object(members) => {
            let place = document.push(Token::Null).unwrap();
            for (name, value) in members {
                document.push_text(name).unwrap();
                add(document, value, binaries);
            }
            document.end_object(place, members.len());
        }
    }
}

/// The value at a place of a document that was read, and the place after it.
fn made(document: &Document, place: usize, binaries: &[usize]) -> (Value, usize) {
    let value = match document.token(place) {
        Token::Boolean(value) => Value::Boolean(value),
        Token::Integer(value) => Value::Integer(value),
        Token::Text(start, end) => Value::Text(document.text(start, end).to_owned()),
        Token::Array(count, _) => {
            let (mut elements, mut next) = (Vec::new(), place + 1);
            for _ in 0..count {
                let (element, after) = made(document, next, binaries);
                elements.push(element);
                next = after;
            }
            Value::Array(elements)
        }
        Token::Object(count, _) => {
            if let Some(number) = socketio::placeholder(document, place) {
                return (Value::Binary(binaries[number.unwrap()]), document.after(place));
            }
            let (mut members, mut next) = (Vec::new(), place + 1);
            for _ in 0..count {
                let Token::Text(start, end) = document.token(next) else { panic!("a name") };
                let (value, after) = made(document, next + 1, binaries);
                members.push((document.text(start, end).to_owned(), value));
                next = after;
            }
            Value::Object(members)
        }
        _ => Value::Null,
    };
    (value, document.after(place))
}

/// Texts that look like packets more often than chance would have it, and others.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "0",
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
        "1-",
        "2-",
        "/",
        "/a",
        ",",
        "7",
        "[",
        "]",
        "{",
        "}",
        "\"m\"",
        ":",
        "null",
        "{\"_placeholder\":true,\"num\":0}",
        "\"connect\"",
        "-",
        ".5",
        "e9",
        "\\ud800",
        "\u{fc}",
        " ",
    ]);
    let likely = vec(words, 0..14).prop_map(|words| words.concat().into_bytes());
    prop_oneof![4 => likely, 1 => vec(any::<u8>(), 0..40)]
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn any_text_is_a_packet_or_an_error(text in text()) {
        fuzzing::socketio(&text);
    }

    #[test]
    fn values_are_read_as_they_were_written(values in vec(value(), 0..5), id in any::<Option<u32>>()) {
        let (mut data, mut binaries) = (Document::default(), Vec::new());
        add(&mut data, &Value::Array(values.clone()), &mut binaries);
        let id = id.map(u64::from);
        let attachments = binaries.len();
        let packet = Packet { kind: Kind::Ack, attachments, namespace: b"/a", id, data: Some(data) };
        let (mut text, mut order) = (Vec::new(), Vec::new());
        socketio::write(&packet, &mut text, &mut order).unwrap();
        // They follow in the order in which the text has them.
        let sent: Vec<_> = order.iter().map(|number| binaries[*number]).collect();
        let again = Packet::parse(&text).unwrap();
        prop_assert_eq!(
            (again.kind, again.attachments, again.namespace, again.id),
            (Kind::Ack, attachments, &b"/a"[..], id)
        );
        let (value, _) = made(&again.data.unwrap(), 0, &sent);
        prop_assert_eq!(value, Value::Array(values));
    }
}
