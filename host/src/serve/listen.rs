//! Connections, with their limits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::Site;
use crate::env::{self, Task};
use crate::{Error, Result};

/// Connections at once.
const MAX_CONNECTIONS: usize = 64;
/// The time that a client may take to say what it wants.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// Headers that a request may have.
const MAX_HEADERS: usize = 64;
/// Bytes of a request before its body.
const MAX_HEADER_BYTES: usize = 64 << 10;
/// After a failure to accept, so that one that stays is no busy loop.
const PAUSE: Duration = Duration::from_millis(100);

/// Answer at this address for as long as the task is held; where that is, in case the
/// port was left open.
///
/// # Errors
/// Config if nobody can listen there.
pub async fn listen(address: SocketAddr, site: Site) -> Result<(SocketAddr, Task)> {
    let refused = |error| {
        Error::config(format!("cannot listen at {address}: choose another address for `[serve] listen`")).because(error)
    };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let router = site.router();
    let task = env::task(async move {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let service = TowerToHyperService::new(router.clone());
            env::detached(async move {
                let mut http = hyper::server::conn::http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
                http.max_headers(MAX_HEADERS).max_buf_size(MAX_HEADER_BYTES).keep_alive(false);
                if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
                    tracing::debug!("a connection ended early: {error}");
                }
                drop(place);
            });
        }
    });
    Ok((address, task))
}
