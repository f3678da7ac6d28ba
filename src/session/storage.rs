//! How sessions borrow storage and give it back.

use super::{Session, Storage};

impl Session {
    /// Borrows storage for received bytes, until [`give_back`](Self::give_back).
    pub fn borrow_input(&mut self, spare: &mut Storage) {
        for tls in self.transport.all_tls_mut() {
            tls.with_incoming(|queue| queue.borrow(&mut spare.ciphertext));
        }
        self.websocket.input().borrow(&mut spare.input);
    }

    /// Borrows storage for assembling messages, until [`give_back`](Self::give_back).
    pub fn borrow_message(&mut self, spare: &mut Storage) {
        if let Some(connection) = self.websocket.connection_mut() {
            connection.assembler().borrow(&mut spare.message);
        }
    }

    /// Borrows storage for bytes to send, until [`give_back_output`](Self::give_back_output).
    pub fn borrow_output(&mut self, spare: &mut Storage) {
        for tls in self.transport.all_tls_mut() {
            tls.with_outgoing(|queue| queue.borrow(&mut spare.sent_ciphertext));
        }
        self.websocket.output().borrow(&mut spare.output);
    }

    /// Gives back input storage that is not needed now, whether it was borrowed or has grown, so that an idle session
    /// has almost none. Returns the length of the longest message assembled since the last call.
    pub fn give_back(&mut self, spare: &mut Storage) -> usize {
        for tls in self.transport.all_tls_mut() {
            tls.with_incoming(|queue| queue.give_back(&mut spare.ciphertext));
        }
        self.websocket.input().give_back(&mut spare.input);
        let connection = self.websocket.connection_mut();
        connection.map_or(0, |connection| connection.assembler().give_back(&mut spare.message))
    }

    /// Gives back output storage that is not needed now.
    pub fn give_back_output(&mut self, spare: &mut Storage) {
        for tls in self.transport.all_tls_mut() {
            tls.with_outgoing(|queue| queue.give_back(&mut spare.sent_ciphertext));
        }
        self.websocket.output().give_back(&mut spare.output);
    }
}
