//! Looks up names without blocking the caller: the system's resolver has no time-out, so it runs in threads.
//!
//! Threads belong to the process, and a name server that does not answer holds each of them for half a minute. So they
//! are counted where the process is, in one static `Resolver` that all Lua states share:
//!
//! - At most `MOST_THREADS` look-ups are at work. The others wait for their turn, and their callers do not wait with
//!   them. Those that nobody waits for any more are forgotten, so there are never more than callers hold.
//! - A name that is being looked up is not looked up once more: everybody gets the same answer.
//! - A thread knows the resolver and nothing of Lua. It ends when there is nothing left to do. A state can be closed
//!   meanwhile; the library stays loaded (`build.rs`: nodelete).
//! - A forked child has none of its parent's threads, and perhaps a lock that one of them held. So a resolver belongs
//!   to the process that used it first, and a child makes another one, its heir.
//! - All signals are blocked in these threads: the host's handlers run in the host's threads.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use std::{fmt, thread};

use nix::sys::signal::{SigSet, SigmaskHow};

use super::poller::Waker;
use super::process::Process;

type Answer = io::Result<Vec<SocketAddr>>;

/// More than the names that most programs connect to, so that names whose server is dead do not delay the others; and
/// few enough for a small machine: 16 threads take half a MiB, and 32 MiB of address space for their stacks.
const MOST_THREADS: usize = 16;

/// The resolver of this process or, in a forked child, that of an ancestor.
static RESOLVER: Resolver = Resolver::new(&|host| Ok((host, 0).to_socket_addrs()?.collect()));

/// A lookup in progress.
#[derive(Debug)]
pub struct Lookup {
    name: Arc<Name>,
    port: u16,
    resolver: &'static Resolver,
}

impl Lookup {
    /// Begins to look up `host`. An address needs no lookup, but is answered in the same way.
    #[must_use]
    pub fn start(host: &str, port: u16) -> Self {
        Self::start_in(&RESOLVER, host, port)
    }

    fn start_in(resolver: &'static Resolver, host: &str, port: u16) -> Self {
        let resolver = resolver.of_this_process();
        let name = match host.parse::<IpAddr>() {
            Ok(address) => Arc::new(Name::answered(host, Ok(vec![SocketAddr::new(address, port)]))),
            Err(_) => resolver.look_up(host),
        };
        Self { name, port, resolver }
    }

    /// The addresses, in the order in which to try them. Waits for at most `wait`, and returns `None` if they are not
    /// there yet.
    #[must_use]
    pub fn poll(&mut self, wait: Duration) -> Option<Answer> {
        if self.name.answer.get().is_none() {
            let resolver = self.resolver.of_this_process();
            if !std::ptr::eq(resolver, self.resolver) {
                *self = Self::start_in(resolver, &self.name.host, self.port);
            }
            if !wait.is_zero() {
                self.resolver.wait(&self.name, wait);
            }
        }
        let port = self.port;
        let with_port = |mut address: SocketAddr| {
            address.set_port(port);
            address
        };
        Some(match self.name.answer.get()? {
            Ok(addresses) => Ok(addresses.iter().copied().map(with_port).collect()),
            // Errors cannot be cloned. This one has the same text.
            Err(error) => Err(io::Error::other(error.to_string())),
        })
    }

    /// Has `waker` called, by another thread, once there is an answer. If there is one, returns false and calls nobody.
    #[must_use]
    pub fn wake(&self, waker: impl FnOnce() -> Waker) -> bool {
        // The thread sets the answer before it takes the list.
        let mut wakers = self.name.wakers();
        if self.name.answer.get().is_some() {
            return false;
        }
        wakers.push(waker());
        true
    }

    /// Whether this lookup has not begun, because as many others as may be are at work.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        self.name.answer.get().is_none() && !self.name.has_begun() && self.resolver.is_busy()
    }
}

/// A name that somebody asked for.
#[derive(Debug)]
struct Name {
    host: String,
    has_begun: AtomicBool,
    answer: OnceLock<Answer>,
    /// Those who wait for the answer by other means than [`Resolver::wait`].
    wakers: Mutex<Vec<Waker>>,
}

impl Name {
    fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            has_begun: AtomicBool::new(false),
            answer: OnceLock::new(),
            wakers: Mutex::default(),
        }
    }

    fn wakers(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answered(host: &str, answer: Answer) -> Self {
        Self { answer: OnceLock::from(answer), ..Self::new(host) }
    }

    fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }
}

/// The look-ups of one process, and the threads that do them.
struct Resolver {
    resolve: &'static (dyn Fn(&str) -> Answer + Sync),
    /// The number of the process that this belongs to; 0 until it is used.
    process: AtomicU32,
    work: Mutex<Work>,
    /// Notified of each answer.
    answered: Condvar,
    /// The resolver of a process that has inherited this one by a fork.
    heir: OnceLock<Box<Resolver>>,
}

struct Work {
    threads: usize,
    /// The names without an answer, in the order in which they were asked for.
    names: Vec<Arc<Name>>,
}

impl Work {
    fn forget_unwanted(&mut self) {
        self.names.retain(|name| name.has_begun() || Arc::strong_count(name) > 1);
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("process", &self.process).finish_non_exhaustive()
    }
}

impl Resolver {
    const fn new(resolve: &'static (dyn Fn(&str) -> Answer + Sync)) -> Self {
        Self {
            resolve,
            process: AtomicU32::new(0),
            work: Mutex::new(Work { threads: 0, names: Vec::new() }),
            answered: Condvar::new(),
            heir: OnceLock::new(),
        }
    }

    /// This resolver, or its heir that belongs to this process. Takes no lock that may have been held during a fork.
    fn of_this_process(&'static self) -> &'static Self {
        let own = Process::this().number();
        let mut resolver = self;
        loop {
            let before = resolver.process.compare_exchange(0, own, Ordering::Relaxed, Ordering::Relaxed);
            // What has an heir belonged to an ancestor, whose number may be in use again.
            if before.map_or_else(|before| before == own, |_| true) && resolver.heir.get().is_none() {
                return resolver;
            }
            resolver = resolver.heir.get_or_init(|| Box::new(Self::new(resolver.resolve)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether each of the threads has a name to look up. One that was just started has none yet.
    fn is_busy(&self) -> bool {
        let work = self.lock();
        work.names.iter().filter(|name| name.has_begun()).count() >= work.threads
    }

    /// Returns a name that is being looked up, or will be. Its answer is an error if no thread can be had.
    fn look_up(&'static self, host: &str) -> Arc<Name> {
        let mut work = self.lock();
        work.forget_unwanted();
        if let Some(name) = work.names.iter().find(|name| name.host.eq_ignore_ascii_case(host)) {
            return Arc::clone(name);
        }
        // Each thread has one of the names to itself, or will come to it.
        if work.threads <= work.names.len() && work.threads < MOST_THREADS {
            match self.spawn() {
                Ok(()) => work.threads += 1,
                Err(error) if work.threads == 0 => {
                    let text = format!("no thread for the name look-up: {error}");
                    return Arc::new(Name::answered(host, Err(io::Error::other(text))));
                }
                Err(_) => {} // one of the other threads will do it
            }
        }
        let name = Arc::new(Name::new(host));
        work.names.push(Arc::clone(&name));
        name
    }

    /// Starts a thread. It inherits the mask of signals, so no signal can come before it has blocked them.
    fn spawn(&'static self) -> io::Result<()> {
        let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let spawned = thread::Builder::new().name("luws-resolve".into()).spawn(|| self.work());
        // This fails for a mask that is not valid only, and it was valid before.
        let _ = mask.thread_set_mask();
        spawned.map(drop)
    }

    /// What a thread does: one look-up after the other, until none is left.
    fn work(&self) {
        let mut work = self.lock();
        loop {
            work.forget_unwanted();
            let Some(name) = work.names.iter().find(|name| !name.has_begun()).cloned() else { break };
            name.has_begun.store(true, Ordering::Relaxed);
            drop(work);
            let answer = panic::catch_unwind(AssertUnwindSafe(|| (self.resolve)(&name.host)))
                .unwrap_or_else(|_| Err(io::Error::other("the name look-up failed")));
            work = self.lock();
            work.names.retain(|other| !Arc::ptr_eq(other, &name));
            let _ = name.answer.set(answer);
            for waker in std::mem::take(&mut *name.wakers()) {
                waker.wake();
            }
            self.answered.notify_all();
        }
        work.threads -= 1;
    }

    /// Waits for an answer, for at most this time.
    fn wait(&self, name: &Name, time: Duration) {
        let is_missing = |_: &mut Work| name.answer.get().is_none();
        drop(self.answered.wait_timeout_while(self.lock(), time, is_missing));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::time::Instant;

    use super::*;
    use crate::net::poller::Poller;

    const PATIENCE: Duration = Duration::from_secs(10);
    const ADDRESS: &str = "192.0.2.1:80";

    fn another_process() -> u32 {
        Process::this().number() ^ 1
    }

    /// A resolver whose look-ups end when the test says so.
    struct Stage {
        resolver: &'static Resolver,
        /// The names that threads have begun with.
        begun: Receiver<String>,
        /// Lets one look-up end.
        end: SyncSender<()>,
    }

    fn leak(resolve: impl Fn(&str) -> Answer + Sync + 'static) -> &'static Resolver {
        Box::leak(Box::new(Resolver::new(Box::leak(Box::new(resolve)))))
    }

    impl Stage {
        fn new() -> Self {
            let (begins, begun) = sync_channel(1000);
            let (end, ends) = sync_channel(1000);
            let ends = Mutex::new(ends);
            let resolver = leak(move |host| {
                begins.send(host.to_owned()).unwrap();
                ends.lock().unwrap().recv_timeout(PATIENCE).unwrap();
                Ok(vec!["192.0.2.1:0".parse().unwrap()])
            });
            Self { resolver, begun, end }
        }

        fn look_up(&self, host: &str) -> Lookup {
            Lookup::start_in(self.resolver, host, 80)
        }

        fn next(&self) -> String {
            self.begun.recv_timeout(PATIENCE).unwrap()
        }

        fn end(&self, count: usize) {
            for _ in 0..count {
                self.end.send(()).unwrap();
            }
        }

        /// Waits until all threads have ended.
        fn is_idle(&self) -> bool {
            let deadline = Instant::now() + PATIENCE;
            while self.resolver.lock().threads > 0 && Instant::now() < deadline {
                thread::yield_now();
            }
            let work = self.resolver.lock();
            work.threads == 0 && work.names.is_empty()
        }
    }

    fn addresses(lookup: &mut Lookup) -> String {
        format!("{:?}", lookup.poll(PATIENCE).expect("no answer").unwrap())
    }

    #[test]
    fn no_more_look_ups_are_at_work_than_there_may_be_threads_and_the_others_follow() {
        let stage = Stage::new();
        let mut lookups: Vec<_> = (0..300).map(|i| stage.look_up(&format!("host{i}"))).collect();
        let begun: Vec<_> = (0..MOST_THREADS).map(|_| stage.next()).collect();
        assert_eq!(stage.resolver.lock().threads, MOST_THREADS);
        assert!(lookups.iter_mut().all(|lookup| lookup.poll(Duration::ZERO).is_none()));
        for lookup in &lookups {
            assert_eq!(lookup.is_queued(), !begun.contains(&lookup.name.host));
        }
        stage.end(300);
        for lookup in &mut lookups {
            assert_eq!(addresses(lookup), format!("[{ADDRESS}]"));
        }
        assert!(stage.is_idle());
    }

    #[test]
    fn an_answer_wakes_those_who_wait_and_tells_those_who_come_too_late() {
        let stage = Stage::new();
        let mut poller = Poller::new().unwrap();
        let mut lookup = stage.look_up("host");
        assert!(lookup.wake(|| poller.waker(7)));
        stage.end(1);
        let mut ready = Vec::new();
        poller.wait(Some(PATIENCE), &mut ready).unwrap();
        assert_eq!(ready.iter().map(|ready| ready.token).collect::<Vec<_>>(), [7]);
        assert!(!lookup.wake(|| unreachable!("there is nothing to wait for")));
        assert_eq!(addresses(&mut lookup), format!("[{ADDRESS}]"));
    }

    #[test]
    fn a_name_is_looked_up_once_for_all_who_wait_for_it_each_with_its_port() {
        let stage = Stage::new();
        let mut first = stage.look_up("host");
        assert_eq!(stage.next(), "host");
        let mut other = Lookup::start_in(stage.resolver, "HOST", 443);
        let mut waiting: Vec<_> = (0..300).map(|_| stage.look_up("host")).collect();
        stage.end(1);
        assert_eq!(addresses(&mut first), format!("[{ADDRESS}]"));
        assert_eq!(addresses(&mut other), "[192.0.2.1:443]");
        assert!(waiting.iter_mut().all(|lookup| addresses(lookup) == format!("[{ADDRESS}]")));
        assert!(stage.is_idle());
        // An answer is not kept for later.
        let mut later = stage.look_up("host");
        assert_eq!(stage.next(), "host");
        stage.end(1);
        assert_eq!(addresses(&mut later), format!("[{ADDRESS}]"));
    }

    #[test]
    fn a_name_that_nobody_waits_for_any_more_is_forgotten_before_its_turn() {
        let stage = Stage::new();
        let at_work: Vec<_> = (0..MOST_THREADS).map(|i| stage.look_up(&format!("busy{i}"))).collect();
        (0..MOST_THREADS).for_each(|_| drop(stage.next()));
        for i in 0..1000 {
            drop(stage.look_up(&format!("abandoned{i}")));
        }
        assert!(stage.resolver.lock().names.len() <= MOST_THREADS + 1);
        let mut wanted = stage.look_up("wanted");
        drop(at_work);
        stage.end(MOST_THREADS + 1);
        assert_eq!(stage.next(), "wanted");
        assert_eq!(addresses(&mut wanted), format!("[{ADDRESS}]"));
        assert!(stage.is_idle());
    }

    #[test]
    fn an_error_has_the_text_of_the_system_for_everybody() {
        let resolver = leak(|_| Err(io::Error::from_raw_os_error(nix::libc::ECONNREFUSED)));
        let mut lookup = Lookup::start_in(resolver, "host", 80);
        let text = crate::net::describe(&lookup.poll(PATIENCE).unwrap().unwrap_err());
        // Nothing has refused a connection.
        assert_eq!(text, "Connection refused");
    }

    #[test]
    fn a_resolver_that_panics_is_an_error_and_its_thread_is_not_lost() {
        let stage = Stage::new();
        let resolver = leak(|_| panic!("on purpose"));
        for _ in 0..=MOST_THREADS {
            let mut lookup = Lookup::start_in(resolver, "host", 80);
            assert_eq!(lookup.poll(PATIENCE).unwrap().unwrap_err().to_string(), "the name look-up failed");
        }
        assert!(Stage { resolver, ..stage }.is_idle());
    }

    #[test]
    fn all_signals_are_blocked_in_the_threads_and_no_others_than_before_in_the_callers() {
        let (sender, receiver) = sync_channel(1);
        let resolver = leak(move |_| {
            sender.send(SigSet::thread_get_mask().unwrap()).unwrap();
            Ok(vec![])
        });
        let before = SigSet::thread_get_mask().unwrap();
        let mut lookup = Lookup::start_in(resolver, "host", 80);
        assert!(lookup.poll(PATIENCE).is_some());
        let inside = receiver.recv_timeout(PATIENCE).unwrap();
        for signal in nix::sys::signal::Signal::iterator() {
            use nix::sys::signal::Signal::{SIGKILL, SIGSTOP};
            assert!(inside.contains(signal) || [SIGKILL, SIGSTOP].contains(&signal), "{signal}");
        }
        assert_eq!(SigSet::thread_get_mask().unwrap(), before);
    }

    #[test]
    fn a_forked_child_has_a_resolver_of_its_own_even_if_a_lock_was_held() {
        let stage = Stage::new();
        let mut inherited = stage.look_up("inherited");
        assert_eq!(stage.next(), "inherited");
        let _held = stage.resolver.lock();
        // From now on it is another process's.
        stage.resolver.process.store(another_process(), Ordering::Relaxed);
        let mut own = stage.look_up("own");
        assert!(inherited.poll(Duration::ZERO).is_none()); // begins again
        let mut begun = [stage.next(), stage.next()];
        begun.sort();
        assert_eq!(begun, ["inherited", "own"]);
        stage.end(3); // the inherited one still runs in this test
        assert_eq!(addresses(&mut own), format!("[{ADDRESS}]"));
        assert_eq!(addresses(&mut inherited), format!("[{ADDRESS}]"));
        // The number of an ancestor may be in use again.
        let heir = stage.resolver.of_this_process();
        heir.process.store(another_process(), Ordering::Relaxed);
        stage.resolver.process.store(Process::this().number(), Ordering::Relaxed);
        assert!(!std::ptr::eq(stage.resolver.of_this_process(), stage.resolver));
    }
}
