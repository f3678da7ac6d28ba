//! Finds out whether a silent peer is still there: asks it with a ping after some silence, and gives it up after more.
//! Knows no clock; it is told the time, in seconds on any clock that is never set back.
//!
//! Two things keep a healthy peer from being given up. Its time is judged in two halves, in a turn each, so that a
//! turn that comes late (the machine was asleep, the program was busy) is not the end. And while what was queued before
//! the ping is on its way, the peer has time as long as it takes some of it.

use std::mem;

/// What the pings of this file begin with, so that their pongs are told from those of other pings.
const MARK: [u8; 4] = *b"luws";

/// The mark, and the number of the ping.
pub(super) type Payload = [u8; 8];

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, until [`Keepalive::due`].
    Wait,
    /// A ping with this payload is to be sent.
    Ping(Payload),
    /// The peer is gone.
    Dead,
}

/// How things stand with what is to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    /// The bytes that wait to be sent.
    pub(super) outgoing: usize,
    /// The bytes that the peer has taken since the beginning.
    pub(super) taken: u64,
}

#[derive(Debug)]
pub(super) struct Keepalive {
    interval: f64,
    timeout: f64,
    /// How many pings were sent.
    count: u32,
    /// When the last one was sent.
    pinged: f64,
    /// Its pong has not come.
    is_unanswered: bool,
    /// Nothing at all has come since the ping that this is about.
    silence: Option<Silence>,
}

#[derive(Debug)]
struct Silence {
    /// When it is looked at next.
    due: f64,
    is_second_half: bool,
    /// The bytes that the peer had taken when it was last looked at, and whether others were waiting.
    taken: u64,
    is_queued: bool,
}

impl Keepalive {
    /// Pings after `interval` seconds of silence, and gives the peer up after `timeout` more. With a `timeout` of 0 it
    /// only pings.
    pub(super) fn new(interval: f64, timeout: f64) -> Self {
        let (pinged, is_unanswered) = (f64::NEG_INFINITY, false);
        Self { interval, timeout, count: 0, pinged, is_unanswered, silence: None }
    }

    /// When [`advance`](Self::advance) has something to do at the latest. `heard` is when something was last received.
    pub(super) fn due(&self, heard: f64) -> f64 {
        match &self.silence {
            Some(silence) if heard < self.pinged => silence.due,
            _ => heard.max(self.pinged) + self.interval,
        }
    }

    /// Says what is to be done. Must be called only after everything that has come was received.
    pub(super) fn advance(&mut self, now: f64, heard: f64, queue: Queue) -> Step {
        if heard >= self.pinged {
            self.silence = None;
        }
        if now < self.due(heard) {
            return Step::Wait;
        }
        let half = self.timeout / 2.0;
        let Some(silence) = &mut self.silence else { return self.ping(now, queue) };
        let goes_on = if queue.outgoing > 0 { queue.taken != silence.taken } else { silence.is_queued };
        (silence.taken, silence.is_queued) = (queue.taken, queue.outgoing > 0);
        if silence.is_second_half && !goes_on {
            return Step::Dead;
        }
        silence.is_second_half = !goes_on;
        silence.due = now + half;
        Step::Wait
    }

    fn ping(&mut self, now: f64, queue: Queue) -> Step {
        self.pinged = now;
        let is_queued = queue.outgoing > 0;
        if self.timeout > 0.0 {
            let due = now + self.timeout / 2.0;
            self.silence = Some(Silence { due, is_second_half: false, taken: queue.taken, is_queued });
        } else if is_queued && self.is_unanswered {
            // The last one may still be waiting, and they must not pile up.
            return Step::Wait;
        }
        self.count = self.count.wrapping_add(1);
        self.is_unanswered = true;
        Step::Ping(self.payload())
    }

    fn payload(&self) -> Payload {
        let (mut payload, (mark, number)) = (Payload::default(), (MARK, self.count.to_be_bytes()));
        payload[..mark.len()].copy_from_slice(&mark);
        payload[mark.len()..].copy_from_slice(&number);
        payload
    }

    /// Whether a pong with this payload answers one of these pings.
    pub(super) fn is_answer(&self, pong: &[u8]) -> bool {
        self.count > 0 && pong.len() == mem::size_of::<Payload>() && pong.starts_with(&MARK)
    }

    /// The seconds from the last ping to its pong, which was received at the time `heard`; `None` for other pongs.
    pub(super) fn latency(&mut self, pong: &[u8], heard: f64) -> Option<f64> {
        let is_awaited = pong == self.payload() && mem::replace(&mut self.is_unanswered, false);
        is_awaited.then(|| (heard - self.pinged).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::{Keepalive, Queue, Step};

    const EMPTY: Queue = Queue { outgoing: 0, taken: 0 };

    fn ping(number: u8) -> Step {
        Step::Ping([b'l', b'u', b'w', b's', 0, 0, 0, number])
    }

    fn queue(outgoing: usize, taken: u64) -> Queue {
        Queue { outgoing, taken }
    }

    /// A turn: the time, when something was last received, the queue; what is to be done, and when the next turn is
    /// due.
    type Turn = (f64, f64, Queue, Step, f64);

    fn assert_turns(mut keepalive: Keepalive, turns: &[Turn]) {
        for (index, (now, heard, queue, step, due)) in turns.iter().enumerate() {
            assert_eq!(keepalive.advance(*now, *heard, *queue), *step, "turn {index}");
            assert!((keepalive.due(*heard) - due).abs() < 1e-9, "turn {index}: {}", keepalive.due(*heard));
        }
    }

    #[test]
    fn a_silent_peer_is_asked_once_and_then_given_up() {
        assert_turns(
            Keepalive::new(20.0, 10.0),
            &[
                (0.0, 0.0, EMPTY, Step::Wait, 20.0),
                (19.9, 0.0, EMPTY, Step::Wait, 20.0),
                (20.0, 0.0, EMPTY, ping(1), 25.0),
                (20.0, 0.0, EMPTY, Step::Wait, 25.0),
                (25.0, 0.0, EMPTY, Step::Wait, 30.0),
                (29.9, 0.0, EMPTY, Step::Wait, 30.0),
                (30.0, 0.0, EMPTY, Step::Dead, 30.0),
            ],
        );
    }

    #[test]
    fn whatever_comes_is_a_sign_of_life() {
        assert_turns(
            Keepalive::new(20.0, 10.0),
            &[
                (20.0, 0.0, EMPTY, ping(1), 25.0),
                (25.0, 0.0, EMPTY, Step::Wait, 30.0),
                (30.0, 29.0, EMPTY, Step::Wait, 49.0),
                (49.0, 29.0, EMPTY, ping(2), 54.0),
                (80.0, 79.0, EMPTY, Step::Wait, 99.0),
                (99.0, 79.0, EMPTY, ping(3), 104.0),
            ],
        );
    }

    #[test]
    fn one_late_turn_is_not_the_end() {
        assert_turns(
            Keepalive::new(20.0, 10.0),
            &[
                (20.0, 0.0, EMPTY, ping(1), 25.0),
                (3600.0, 0.0, EMPTY, Step::Wait, 3605.0),
                (3605.0, 3604.0, EMPTY, Step::Wait, 3624.0),
                (7200.0, 3604.0, EMPTY, ping(2), 7205.0),
                (7300.0, 3604.0, EMPTY, Step::Wait, 7305.0),
                (7400.0, 3604.0, EMPTY, Step::Dead, 7305.0),
            ],
        );
    }

    #[test]
    fn a_peer_that_takes_what_is_queued_has_time() {
        assert_turns(
            Keepalive::new(20.0, 10.0),
            &[
                (20.0, 0.0, queue(900, 100), ping(1), 25.0),
                (25.0, 0.0, queue(600, 400), Step::Wait, 30.0),
                (30.0, 0.0, queue(600, 400), Step::Wait, 35.0),
                (35.0, 0.0, queue(100, 900), Step::Wait, 40.0),
                // Now the ping has left.
                (40.0, 0.0, queue(0, 1000), Step::Wait, 45.0),
                (45.0, 0.0, queue(0, 1000), Step::Wait, 50.0),
                (50.0, 0.0, queue(0, 1000), Step::Dead, 50.0),
            ],
        );
    }

    #[test]
    fn a_peer_that_takes_nothing_is_given_up() {
        assert_turns(
            Keepalive::new(20.0, 10.0),
            &[
                (20.0, 0.0, queue(900, 100), ping(1), 25.0),
                (25.0, 0.0, queue(908, 100), Step::Wait, 30.0),
                (30.0, 0.0, queue(908, 100), Step::Dead, 30.0),
            ],
        );
    }

    #[test]
    fn without_a_time_out_it_only_pings_and_pings_do_not_pile_up() {
        assert_turns(
            Keepalive::new(20.0, 0.0),
            &[
                (20.0, 0.0, EMPTY, ping(1), 40.0),
                (40.0, 0.0, EMPTY, ping(2), 60.0),
                (60.0, 0.0, queue(8, 0), Step::Wait, 80.0),
                (80.0, 0.0, EMPTY, ping(3), 100.0),
                (90.0, 85.0, EMPTY, Step::Wait, 105.0),
            ],
        );
    }

    #[test]
    fn the_pong_of_the_last_ping_tells_the_latency_once() {
        let mut keepalive = Keepalive::new(1.0, 1.0);
        assert!(!keepalive.is_answer(b"luws\0\0\0\0"));
        assert_eq!(keepalive.latency(b"luws\0\0\0\0", 1.0), None);
        assert_eq!(keepalive.advance(1.0, 0.0, EMPTY), ping(1));
        assert_eq!(keepalive.advance(2.5, 1.5, EMPTY), ping(2));
        for pong in [b"".as_slice(), b"luws", b"other\0\0\0"] {
            assert!(!keepalive.is_answer(pong), "{pong:?}");
        }
        assert!(keepalive.is_answer(b"luws\0\0\0\x01"));
        assert_eq!(keepalive.latency(b"luws\0\0\0\x01", 2.6), None);
        assert_eq!(keepalive.latency(b"luws\0\0\0\x02", 2.75), Some(0.25));
        assert_eq!(keepalive.latency(b"luws\0\0\0\x02", 2.8), None);
    }
}
