//! The task of one connection: it reads, lets the protocol answer, and writes.
//!
//! Everything of a connection belongs to its task; others reach it through its
//! mailbox only. What it writes is gathered, so that many transfers share a write.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::broker::Broker;
use super::condition::Condition;
use super::delivery::{HIGH_WATER_BYTES, Sink, take_turn};
use super::faults::{Cut, Target};
use super::frame::{MAX_FRAME_BYTES, Transfer, piece_bytes, put_heartbeat, put_transfer};
use super::link::{Feed, Link, Session};
use super::mailbox::{Command, Mailbox};

/// How long a peer has to take what is written before the connection ends.
pub(super) const FAREWELL: Duration = Duration::from_secs(5);
/// How long nothing is read behind dispositions: one comes for each message, and to
/// look at each would cost more than to send the message.
const GATHERING: Duration = Duration::from_millis(1);
/// Longer than any test.
const FAR: Duration = Duration::from_secs(86_400);
const READ_BYTES: usize = 65_536;

/// Where the conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// A protocol header comes next.
    Header,
    /// Frames of the security layer come next.
    Sasl,
    /// Frames come next.
    Frames,
    /// We closed, and wait for the peer's close.
    Closing,
}

/// How the connection ends when everything is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Close,
    Reset,
}

/// What the connection knows of the peer's right to attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Missing,
    Good,
    Expired,
}

/// A connection.
pub(super) struct Connection {
    pub(super) broker: Arc<Broker>,
    pub(super) id: u64,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) stage: Stage,
    pub(super) out: BytesMut,
    pub(super) sessions: BTreeMap<u16, Session>,
    pub(super) peer_max_frame: u32,
    pub(super) heartbeat: Option<Duration>,
    pub(super) token: Token,
    pub(super) token_until: Option<Instant>,
    /// Until when the peer's close is waited for.
    pub(super) close_until: Option<Instant>,
    stream: TcpStream,
    inbox: BytesMut,
    heartbeat_at: Instant,
    /// Until when nothing is written, if nothing is.
    frozen_until: Option<Instant>,
    ending: Option<(Ending, Instant)>,
    /// The receiver whose turn is first.
    turn: usize,
    again_at: Option<Instant>,
    /// Whether what was read last has more than dispositions.
    pub(super) is_asked: bool,
    /// Until when nothing is read, so that dispositions gather.
    gathers_until: Option<Instant>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.broker.disconnected(self.id);
        self.broker.say(|| format!("connection {} ended", self.id));
    }
}

impl Connection {
    pub(super) fn new(broker: Arc<Broker>, stream: TcpStream) -> Self {
        let id = broker.next_id();
        let mailbox = Arc::new(Mailbox::default());
        broker.connections().insert(id, Arc::clone(&mailbox));
        broker.count.connections.fetch_add(1, Ordering::AcqRel);
        broker.changes.happened();
        Self {
            broker,
            id,
            mailbox,
            stage: Stage::Header,
            out: BytesMut::with_capacity(HIGH_WATER_BYTES),
            sessions: BTreeMap::new(),
            peer_max_frame: MAX_FRAME_BYTES,
            heartbeat: None,
            token: Token::Missing,
            token_until: None,
            close_until: None,
            stream,
            inbox: BytesMut::with_capacity(READ_BYTES),
            heartbeat_at: Instant::now(),
            frozen_until: None,
            ending: None,
            turn: 0,
            again_at: None,
            is_asked: false,
            gathers_until: None,
        }
    }

    /// Converse until either side ends it.
    pub(super) async fn run(mut self) {
        // An error is the end of the connection, whoever made it.
        let _ended = self.converse().await;
        if let Some((Ending::Reset, _)) = self.ending {
            let _unneeded = self.stream.set_zero_linger();
        }
    }

    async fn converse(&mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        loop {
            let mut progress = self.gathers_until.is_none() && self.receive()?;
            // After what came, so that a fault that was injected before it shows in the answer.
            while let Some(command) = self.mailbox.take() {
                self.obey(command);
            }
            let now = Instant::now();
            self.keep_time(now)?;
            if self.frozen_until.is_none() {
                // What waits for the socket first: to add to it would move it each time.
                self.flush()?;
                progress |= self.ending.is_none() && self.out.is_empty() && self.pump();
                self.flush()?;
            }
            if let Some((_, deadline)) = self.ending
                && (self.out.is_empty() || deadline <= now)
            {
                return Ok(());
            }
            if progress {
                // Other connections share the thread.
                tokio::task::yield_now().await;
                continue;
            }
            let interest = self.interest();
            tokio::select! {
                ready = self.stream.ready(interest.unwrap_or(Interest::READABLE)), if interest.is_some() => drop(ready?),
                () = self.mailbox.changed() => {}
                () = sleep_until(self.deadline(now)) => {}
            }
        }
    }

    /// What of the socket is waited for, if it is waited for.
    fn interest(&self) -> Option<Interest> {
        let reads = self.gathers_until.is_none().then_some(Interest::READABLE);
        let writes = (self.frozen_until.is_none() && !self.out.is_empty()).then_some(Interest::WRITABLE);
        reads.into_iter().chain(writes).reduce(Interest::add)
    }

    /// When something has to be done though nobody asks.
    fn deadline(&self, now: Instant) -> Instant {
        let heartbeat = self.heartbeat.map(|_| self.heartbeat_at);
        let ending = self.ending.map(|(_, deadline)| deadline);
        let times = [
            heartbeat,
            ending,
            self.frozen_until,
            self.again_at,
            self.token_until,
            self.close_until,
            self.gathers_until,
        ];
        times.into_iter().flatten().min().unwrap_or(now + FAR)
    }

    fn keep_time(&mut self, now: Instant) -> io::Result<()> {
        let over = |time: Option<Instant>| time.is_some_and(|time| time <= now);
        if over(self.frozen_until) {
            self.frozen_until = None;
        }
        if over(self.again_at) {
            self.again_at = None;
        }
        if over(self.token_until) {
            self.token_until = None;
            self.expire_token();
        }
        if over(self.close_until) {
            self.close_until = None;
            self.end();
        }
        if let Some(interval) = self.heartbeat
            && self.heartbeat_at <= now
        {
            self.heartbeat_at = now + interval;
            if self.out.is_empty() && self.stage == Stage::Frames {
                put_heartbeat(&mut self.out);
            }
        }
        if over(self.gathers_until) {
            self.gathers_until = None;
            self.acknowledge()?;
        }
        Ok(())
    }

    /// Read and answer what there is; true if there was something.
    fn receive(&mut self) -> io::Result<bool> {
        self.inbox.reserve(READ_BYTES);
        match self.stream.try_read_buf(&mut self.inbox) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        let mut inbox = std::mem::take(&mut self.inbox);
        self.is_asked = self.stage != Stage::Frames;
        let answered = self.answer(&mut inbox);
        self.inbox = inbox;
        if self.is_asked || !self.inbox.is_empty() {
            self.acknowledge()?;
        } else {
            self.gathers_until = Some(Instant::now() + GATHERING);
        }
        if let Err(malformed) = answered {
            self.broker.say(|| format!("connection {}: {malformed}", self.id));
            self.close(Some(&Condition::new("amqp:connection:framing-error", malformed.to_string())));
            self.end();
        }
        Ok(true)
    }

    /// Acknowledge at once what was read. The client leaves Nagle's algorithm on, and
    /// what it asks next would wait 40 ms for a delayed acknowledgement. Linux forgets
    /// the option, so it is set again each time.
    fn acknowledge(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        self.stream.set_quickack(true)?;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.stream.try_write(&self.out) {
                Ok(written) => self.out.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        // Now that it is empty this takes its room back, and copies nothing.
        self.out.reserve(HIGH_WATER_BYTES);
        Ok(())
    }

    /// Give each receiver a turn; true if something was sent.
    fn pump(&mut self) -> bool {
        let receives = |link: &Link| matches!(link, Link::Outgoing(_));
        let of = |(channel, session): (&u16, &Session)| {
            let handles =
                session.links.iter().filter(|(_, link)| receives(link)).map(|(handle, _)| (*channel, *handle));
            handles.collect::<Vec<_>>()
        };
        let receivers: Vec<_> = self.sessions.iter().flat_map(of).collect();
        let mut progress = false;
        for index in 0..receivers.len() {
            if self.out.len() >= HIGH_WATER_BYTES {
                self.turn += index;
                break;
            }
            let (channel, handle) = receivers[(self.turn + index) % receivers.len()];
            let Some(Session { windows, links }) = self.sessions.get_mut(&channel) else { continue };
            let Some(Link::Outgoing(link)) = links.get_mut(&handle) else { continue };
            let piece_bytes = piece_bytes(self.peer_max_frame);
            let mut sink = Sink { out: &mut self.out, piece_bytes, mailbox: &self.mailbox };
            let turn = take_turn(&self.broker, link, windows, &mut sink);
            progress |= turn.progress;
            self.again_at = self.again_at.into_iter().chain(turn.again_at).min();
            let id = link.id;
            for fired in turn.fired {
                self.broker.perform(fired, &Target::all(), Some(id));
                progress = true;
            }
            while let Some(command) = self.mailbox.take() {
                self.obey(command);
            }
            if self.ending.is_some() || self.frozen_until.is_some() {
                break;
            }
        }
        progress
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Detach(id, condition) => self.detach(id, &condition),
            Command::Close(condition) => self.close(Some(&condition)),
            Command::Cut(cut) => self.cut(cut),
            Command::Freeze(time) => self.freeze(time),
            Command::Thaw => self.frozen_until = None,
            Command::Duplicate(id, count) => self.rewind(id, count),
            Command::ExpireToken => self.expire_token(),
        }
    }

    /// Write nothing for a time, or until it is told otherwise.
    pub(super) fn freeze(&mut self, time: Option<Duration>) {
        self.frozen_until = Some(Instant::now() + time.unwrap_or(FAR));
    }

    /// Reset the connection, when what was written before is gone.
    pub(super) fn cut(&mut self, cut: Cut) {
        if self.frozen_until.take().is_some() {
            self.out.clear();
        }
        if cut == Cut::WithinFrame {
            let found = self.sessions.iter().find_map(|(channel, session)| {
                let receives = session.links.iter().find(|(_, link)| matches!(link, Link::Outgoing(_)));
                receives.map(|(handle, _)| (*channel, *handle, session.windows.next_delivery))
            });
            let (channel, handle, delivery_id) = found.unwrap_or_default();
            let before = self.out.len();
            put_transfer(
                &mut self.out,
                Transfer { channel, handle, delivery_id, settled: false, more: false },
                &[0; 256],
            );
            self.out.truncate(before + (self.out.len() - before) / 2);
        }
        self.ending = Some((Ending::Reset, Instant::now() + FAREWELL));
    }

    /// End the connection, when everything is written.
    pub(super) fn end(&mut self) {
        self.ending.get_or_insert((Ending::Close, Instant::now() + FAREWELL));
    }

    /// Send the last messages of a link again.
    fn rewind(&mut self, id: u64, count: usize) {
        let links = self.sessions.values_mut().flat_map(|session| session.links.values_mut());
        for link in links {
            if let Link::Outgoing(link) = link
                && link.id == id
                && let Feed::Partition { partition, next } = &mut link.feed
            {
                let back = partition.log().back(*next, count);
                *next = back;
            }
        }
    }

    fn expire_token(&mut self) {
        self.token = Token::Expired;
        let links = self.sessions.values().flat_map(|session| session.links.values());
        let ids: Vec<_> = links.filter(|link| link.is_of_hub()).filter_map(Link::id).collect();
        for id in ids {
            self.detach(id, &Condition::expired_token());
        }
    }
}
