//! Measures the engine by itself, without Lua and without sockets: its parts, and whole messages through a connection.
//! `make bench-engine` runs everything; `make bench-engine FILTER=mask` runs the benchmarks with that in their name.
//!
//! Each figure is for one message (or header) with a payload of the size shown. Bytes per second refer to the payload
//! before compression; for headers, to the header.

use std::time::Duration;

use divan::counter::BytesCount;
use divan::{Bencher, Divan, black_box};
use luws::protocol::Role;
use luws::protocol::buffer::Buffer;
use luws::protocol::connection::{Config, Connection, Event};
use luws::protocol::deflate::{Deflater, Inflater, NegotiatedParameters, Options};
use luws::protocol::extensions;
use luws::protocol::frame::{FrameHeader, Opcode};
use luws::protocol::message::Assembler;
use luws::protocol::utf8::Validator;
use rand::SeedableRng;
use rand::rngs::StdRng;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Payload sizes in bytes: empty, both sides of the first step in the header's length, and up to a size that fits in no
/// cache.
const SIZES: &[usize] = &[0, 16, 125, 126, KIB, 16 * KIB, 64 * KIB, MIB, 16 * MIB];

/// The sizes that are large enough to be cut into pieces.
const LARGE: &[usize] = &[KIB, 16 * KIB, 64 * KIB, MIB, 16 * MIB];

/// Compression works on windows of 32 KiB, so larger sizes would show nothing new and take most of the time.
const COMPRESSED: &[usize] = &[0, 16, 125, KIB, 16 * KIB, 64 * KIB, MIB];

/// The size of pieces from a network without jumbo frames. It divides none of the sizes, so characters are cut.
const PIECE: usize = 1429;

/// The most bytes in a fragment.
const FRAGMENT: usize = 64 * KIB;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn main() {
    // Time per benchmark. The command line may override it.
    Divan::default().max_time(Duration::from_millis(300)).config_with_args().main();
}

/// Measures `run`, which handles `bytes` bytes. The first timed run decides how often it is run per sample; a few runs
/// before it make sure that it is not slower than the others.
fn measure<T>(bencher: Bencher<'_, '_>, bytes: usize, mut run: impl FnMut() -> T) {
    for _ in 0..3 {
        black_box(run());
    }
    bencher.counter(BytesCount::new(bytes)).bench_local(run);
}

/// Repeats `words` up to `size` bytes, with blanks where a character would be cut.
fn text(words: &str, size: usize) -> Vec<u8> {
    let mut text = words.repeat(size / words.len() + 1);
    let end = (0..=size).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
    let mut text = text.into_bytes();
    text.resize(size, b' ');
    text
}

fn ascii(size: usize) -> Vec<u8> {
    text("The quick brown fox jumps over the lazy dog. ", size)
}

/// Returns text with characters of one, two, three and four bytes.
fn unicode(size: usize) -> Vec<u8> {
    text("Съешь ещё этих мягких булок. Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. 🌡️ 21 °C 💧 40 % ", size)
}

/// Returns sensor readings as JSON. This text compresses like real messages; repeated words do not.
fn readings(size: usize) -> Vec<u8> {
    let mut text = String::new();
    let mut state = 1_u32;
    while text.len() < size {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (device, value, tenth) = (state >> 24, state >> 16 & 0x3f, state >> 12 & 7);
        text += &format!("{{\"device\":{device},\"temperature\":{value}.{tenth},\"battery\":\"ok\"}},");
    }
    text.truncate(size);
    text.into_bytes()
}

mod header {
    use super::{Bencher, Buffer, FrameHeader, KEY, Opcode, SIZES, black_box, measure};
    use luws::protocol::frame::Lengths;

    /// A masked header, as clients send it.
    fn header(size: usize) -> FrameHeader {
        let payload_length = size as u64;
        FrameHeader { fin: true, rsv: 0, opcode: Opcode::Text, masking_key: Some(KEY), payload_length }
    }

    #[divan::bench(args = SIZES)]
    fn parse(bencher: Bencher<'_, '_>, size: usize) {
        let mut bytes = Buffer::default();
        header(size).write(&mut bytes).unwrap();
        let bytes = bytes.as_slice();
        measure(bencher, bytes.len(), || FrameHeader::parse(black_box(bytes), Lengths::Shortest));
    }

    #[divan::bench(args = SIZES)]
    fn write(bencher: Bencher<'_, '_>, size: usize) {
        let header = header(size);
        let mut output = Buffer::default();
        header.write(&mut output).unwrap();
        let length = output.len();
        measure(bencher, length, || {
            output.clear();
            black_box(header).write(&mut output).unwrap();
        });
    }
}

mod mask {
    use super::{Bencher, KEY, SIZES, ascii, black_box, measure};
    use luws::protocol::mask;

    #[divan::bench(args = SIZES)]
    fn apply(bencher: Bencher<'_, '_>, size: usize) {
        let mut data = ascii(size);
        measure(bencher, size, || mask::apply(KEY, 0, black_box(&mut data)));
    }

    #[divan::bench(args = SIZES)]
    fn copy(bencher: Bencher<'_, '_>, size: usize) {
        let (source, mut target) = (ascii(size), vec![0; size]);
        measure(bencher, size, || mask::copy(KEY, black_box(&source), black_box(&mut target)));
    }
}

mod utf8 {
    use super::{Bencher, LARGE, PIECE, SIZES, Validator, ascii, black_box, measure, unicode};

    fn validate(bencher: Bencher<'_, '_>, data: &[u8], piece: usize) {
        measure(bencher, data.len(), || {
            let mut validator = Validator::default();
            for piece in black_box(data).chunks(piece) {
                validator.push(piece).expect("it is UTF-8");
            }
            validator.finish()
        });
    }

    #[divan::bench(args = SIZES)]
    fn ascii_whole(bencher: Bencher<'_, '_>, size: usize) {
        validate(bencher, &ascii(size), size.max(1));
    }

    #[divan::bench(args = LARGE)]
    fn ascii_pieces(bencher: Bencher<'_, '_>, size: usize) {
        validate(bencher, &ascii(size), PIECE);
    }

    #[divan::bench(args = SIZES)]
    fn unicode_whole(bencher: Bencher<'_, '_>, size: usize) {
        validate(bencher, &unicode(size), size.max(1));
    }

    #[divan::bench(args = LARGE)]
    fn unicode_pieces(bencher: Bencher<'_, '_>, size: usize) {
        validate(bencher, &unicode(size), PIECE);
    }
}

mod assemble {
    use super::{
        Assembler, Bencher, FRAGMENT, FrameHeader, LARGE, Opcode, PIECE, SIZES, ascii, black_box, measure,
    };

    fn assemble(bencher: Bencher<'_, '_>, size: usize, opcode: Opcode, fragment: usize) {
        let data = ascii(size);
        let mut assembler = Assembler::new(None, true);
        measure(bencher, size, || {
            let (mut opcode, mut rest) = (opcode, black_box(&data[..]));
            loop {
                let (payload, after) = rest.split_at(rest.len().min(fragment));
                let payload_length = payload.len() as u64;
                let fin = after.is_empty();
                let header = FrameHeader { fin, rsv: 0, opcode, masking_key: None, payload_length };
                assembler.begin_frame(&header, usize::MAX).expect("the order is right");
                assembler.push(payload, payload_length).expect("it is UTF-8");
                if fin {
                    break;
                }
                (opcode, rest) = (Opcode::Continuation, after);
            }
            let ended = assembler.finish();
            black_box(assembler.data());
            assembler.release();
            ended
        });
    }

    #[divan::bench(args = SIZES)]
    fn binary(bencher: Bencher<'_, '_>, size: usize) {
        assemble(bencher, size, Opcode::Binary, FRAGMENT);
    }

    #[divan::bench(args = SIZES)]
    fn text(bencher: Bencher<'_, '_>, size: usize) {
        assemble(bencher, size, Opcode::Text, FRAGMENT);
    }

    #[divan::bench(args = LARGE)]
    fn text_of_small_fragments(bencher: Bencher<'_, '_>, size: usize) {
        assemble(bencher, size, Opcode::Text, PIECE);
    }
}

mod deflate {
    use super::{
        Bencher, COMPRESSED, Deflater, Inflater, MIB, NegotiatedParameters, Options, black_box, extensions,
        measure, readings,
    };

    /// Returns what a client and a server with our defaults agree on.
    fn parameters() -> NegotiatedParameters {
        let options = Options::default();
        let offers = extensions::parse(&options.offer()).expect("it is our own offer");
        options.accept(&offers).expect("it is our own offer").0
    }

    /// Takes one message after the other from a long text, so that the window holds the messages before, and none
    /// repeats.
    #[divan::bench(args = COMPRESSED)]
    fn deflate(bencher: Bencher<'_, '_>, size: usize) {
        let text = readings(MIB);
        let mut at = 0;
        let mut deflater = Deflater::new(parameters());
        measure(bencher, size, || {
            at = if at + 2 * size > text.len() { 0 } else { at + size };
            let compressed = deflater.fragment(black_box(&text[at..at + size]), true);
            black_box(compressed).unwrap().len()
        });
    }

    #[divan::bench(args = COMPRESSED)]
    fn inflate(bencher: Bencher<'_, '_>, size: usize) {
        // Compressed with an empty window, so that the same bytes can be inflated after any other message.
        let compressed = Deflater::new(parameters()).fragment(&readings(size), true).unwrap().to_vec();
        let mut inflater = Inflater::new(&parameters());
        let mut data = Vec::new();
        measure(bencher, size, || {
            data.clear();
            inflater.push(black_box(&compressed), &mut data, usize::MAX).expect("it is DEFLATE");
            inflater.finish(&mut data, usize::MAX).expect("it is DEFLATE");
            black_box(&data).len()
        });
    }
}

mod connection {
    use super::{
        Bencher, Buffer, Config, Connection, Event, FRAGMENT, MIB, Opcode, Role, SIZES, SeedableRng, StdRng,
        ascii, black_box, measure, unicode,
    };

    fn connection(role: Role) -> Connection {
        let config = Config { max_message_size: usize::MAX, ..Config::default() };
        let rng = StdRng::seed_from_u64(1); // what the keys are does not matter
        Connection::new(role, config, None, rng, Buffer::default(), Buffer::default())
    }

    /// Measures a client that receives from a server, in fragments of at most `fragment` bytes.
    fn receive(bencher: Bencher<'_, '_>, data: &[u8], fragment: usize) {
        let mut server = connection(Role::Server);
        let mut rest = data;
        let mut opcode = Opcode::Text;
        loop {
            let (payload, after) = rest.split_at(rest.len().min(fragment));
            server.send(opcode, payload, after.is_empty()).expect("it is open");
            if after.is_empty() {
                break;
            }
            (opcode, rest) = (Opcode::Continuation, after);
        }
        let bytes = server.output().as_slice();
        let mut client = connection(Role::Client);
        measure(bencher, data.len(), || {
            client.input().extend(black_box(bytes)).unwrap();
            let mut received = 0;
            while let Some(event) = client.next_event().expect("the server obeys the rules") {
                let Event::Message { data, .. } = black_box(event) else { continue };
                received += data.len();
            }
            assert_eq!(received, data.len());
        });
    }

    #[divan::bench(args = SIZES)]
    fn receive_ascii(bencher: Bencher<'_, '_>, size: usize) {
        receive(bencher, &ascii(size), usize::MAX);
    }

    #[divan::bench(args = SIZES)]
    fn receive_unicode(bencher: Bencher<'_, '_>, size: usize) {
        receive(bencher, &unicode(size), usize::MAX);
    }

    #[divan::bench(args = [MIB, 16 * MIB])]
    fn receive_fragments(bencher: Bencher<'_, '_>, size: usize) {
        receive(bencher, &ascii(size), FRAGMENT);
    }

    fn send(bencher: Bencher<'_, '_>, role: Role, data: &[u8]) {
        let mut connection = connection(role);
        measure(bencher, data.len(), || {
            connection.send(Opcode::Text, black_box(data), true).expect("it is open");
            black_box(connection.output().as_slice());
            connection.output().clear();
        });
    }

    #[divan::bench(args = SIZES)]
    fn send_masked(bencher: Bencher<'_, '_>, size: usize) {
        send(bencher, Role::Client, &ascii(size));
    }

    #[divan::bench(args = SIZES)]
    fn send_unmasked(bencher: Bencher<'_, '_>, size: usize) {
        send(bencher, Role::Server, &ascii(size));
    }
}
