//! A way to an HTTP service on which answers are lost: the request is carried out,
//! and whoever asked does not hear of it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

const BLOCK_BYTES: usize = 64 << 10;
/// A longer head of a request is none.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// What is heard instead of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The connection closes.
    Closes,
    /// Somebody in between says 503.
    Unavailable,
}

/// The first lines of the requests whose answers were lost.
type Lost = Mutex<HashSet<String>>;

/// The way; it is closed when this is dropped.
pub struct Lossy {
    address: SocketAddr,
    lost: Arc<Lost>,
    task: AbortHandle,
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Lossy {
    /// A way to this address (`host:port`) on which the answer to a request whose
    /// head, in lower case, this picks is lost; who asks again hears one.
    pub async fn to(address: String, loss: Loss, picks: fn(&str) -> bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let own = listener.local_addr().expect("a bound socket has an address");
        let lost = Arc::new(Lost::default());
        let counted = Arc::clone(&lost);
        let serving = async move {
            // Dropped with this task, and all connections with it.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (address, lost) = (address.clone(), Arc::clone(&counted));
                connections.spawn(async move {
                    if let Ok(service) = TcpStream::connect(address).await {
                        converse(client, service, loss, picks, &lost).await;
                    }
                });
            }
        };
        Self { address: own, lost, task: tokio::spawn(serving).abort_handle() }
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many answers were lost.
    pub fn lost(&self) -> usize {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Carry requests and answers until either side closes, or an answer is lost.
async fn converse(client: TcpStream, service: TcpStream, loss: Loss, picks: fn(&str) -> bool, lost: &Lost) {
    let (mut requests, mut to_client) = client.into_split();
    let (mut answers, mut to_service) = service.into_split();
    let mut waiting = Vec::new();
    loop {
        // Who asks hears the whole answer before it asks again, so that the next
        // request tells where the answer ends.
        let more = tokio::select! {
            more = requests.read_buf(&mut waiting) => more.unwrap_or(0),
            answered = pass(&mut answers, &mut to_client) => if answered { continue } else { return },
        };
        if more == 0 {
            return;
        }
        let Some((head, whole)) = request(&mut requests, &mut waiting).await else { return };
        if to_service.write_all(&waiting[..whole]).await.is_err() {
            return;
        }
        waiting.drain(..whole);
        if picks(&head) && is_first(&head, lost) {
            // The first bytes of the answer say that the request was carried out.
            if !matches!(answers.read(&mut [0; 1]).await, Ok(1)) {
                return;
            }
            if loss == Loss::Unavailable {
                let said = b"HTTP/1.1 503 Server Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                let _gone = to_client.write_all(said).await;
            }
            return;
        }
    }
}

/// Whether nobody asked for this before.
fn is_first(head: &str, lost: &Lost) -> bool {
    let line = head.lines().next().unwrap_or_default();
    lost.lock().unwrap_or_else(PoisonError::into_inner).insert(line.to_owned())
}

/// Carry what is there of an answer; false at its end for good.
async fn pass(answers: &mut OwnedReadHalf, to_client: &mut OwnedWriteHalf) -> bool {
    let mut block = vec![0; BLOCK_BYTES];
    match answers.read(&mut block).await {
        Ok(bytes @ 1..) => to_client.write_all(&block[..bytes]).await.is_ok(),
        Ok(0) | Err(_) => false,
    }
}

/// Read until there is a whole request: its head, and its length in bytes.
async fn request(requests: &mut OwnedReadHalf, waiting: &mut Vec<u8>) -> Option<(String, usize)> {
    loop {
        if let Some(end) = waiting.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&waiting[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let whole = end + 4 + length.map_or(Some(0), |length| length.parse().ok())?;
            while waiting.len() < whole {
                if requests.read_buf(waiting).await.ok()? == 0 {
                    return None;
                }
            }
            return Some((head, whole));
        }
        if waiting.len() > MAX_HEAD_BYTES || requests.read_buf(waiting).await.ok()? == 0 {
            return None;
        }
    }
}
