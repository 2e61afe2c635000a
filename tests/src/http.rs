//! An HTTP/1.1 endpoint on this machine that answers by a script and remembers
//! what it was asked.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// What the endpoint does with one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Answers with this status.
    Status(u16),
    /// Answers with this status and one header.
    With(u16, &'static str, String),
    /// Never answers.
    Hang,
    /// Closes the connection without an answer.
    Close,
}

/// What the endpoint was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method and the path with its query, for example `POST /hook`.
    pub target: String,
    /// The headers in their order; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header, if it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct State {
    script: VecDeque<Answer>,
    requests: Vec<Request>,
}

/// An endpoint; it is gone when this is dropped.
pub struct Endpoint {
    origin: String,
    state: Arc<watch::Sender<State>>,
    task: AbortHandle,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Endpoint {
    /// Start an endpoint that answers as the script says, and then with 200.
    pub async fn start(script: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let origin = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
        let state = State { script: script.into_iter().collect(), requests: Vec::new() };
        let state = Arc::new(watch::Sender::new(state));
        let task = tokio::spawn(serve(listener, Arc::clone(&state))).abort_handle();
        Self { origin, state, task }
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// All requests so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.state.borrow().requests.clone()
    }

    /// Wait until there were this many requests.
    pub async fn wait_for(&self, requests: usize) -> Vec<Request> {
        let mut changes = self.state.subscribe();
        let state = changes.wait_for(|state| state.requests.len() >= requests).await.expect("it lives as long as this");
        state.requests.clone()
    }
}

/// An address that refuses connections, and that nobody else gets while this lives.
pub struct Unreachable {
    origin: String,
    _socket: TcpSocket,
}

impl Unreachable {
    /// Take an address without listening at it. Must be called within tokio.
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let origin = format!("http://{}", socket.local_addr().expect("a bound socket has an address"));
        Self { origin, _socket: socket }
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

impl Default for Unreachable {
    fn default() -> Self {
        Self::new()
    }
}

async fn serve(listener: TcpListener, state: Arc<watch::Sender<State>>) {
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(converse(stream, Arc::clone(&state)));
    }
}

/// Answer the requests of one connection, until either side closes it.
async fn converse(stream: TcpStream, state: Arc<watch::Sender<State>>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        let mut answer = None;
        state.send_modify(|state| {
            state.requests.push(request);
            answer = state.script.pop_front();
        });
        let (status, header) = match answer.unwrap_or(Answer::Status(200)) {
            Answer::Status(status) => (status, String::new()),
            Answer::With(status, name, value) => (status, format!("{name}: {value}\r\n")),
            Answer::Hang => std::future::pending().await,
            Answer::Close => return,
        };
        let text = format!("HTTP/1.1 {status} scripted\r\ncontent-length: 2\r\n{header}\r\nok");
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let target = lines.first()?.strip_suffix(" HTTP/1.1")?.to_owned();
    let headers = lines.iter().skip(1).filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let mut request = Request { target, headers, body: Vec::new() };
    let length = request.header("content-length").map_or(Some(0), |length| length.parse().ok())?;
    request.body.resize(length, 0);
    stream.read_exact(&mut request.body).await.ok()?;
    Some(request)
}
