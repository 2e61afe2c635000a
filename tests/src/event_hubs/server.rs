//! The endpoint: a port, and a thread that serves it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::broker::Broker;
use super::connection::Connection;
use super::settings::{Key, Settings};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 256;
/// How long closing the port may take.
const SHUT_DOWN: Duration = Duration::from_secs(10);

/// Event Hubs on this machine; they are gone when this is dropped.
///
/// It has a thread of its own, so that it serves whatever the test's thread does.
/// What is in the hubs is reached through [`Broker`], to which this dereferences.
pub struct LocalHubs {
    broker: Arc<Broker>,
    port: u16,
    /// Keeps the port while nobody listens.
    _reserved: TcpSocket,
    listening: Mutex<Option<Listening>>,
    runtime: Option<Runtime>,
}

/// A port that is listened at.
struct Listening {
    stop: oneshot::Sender<()>,
    stopped: mpsc::Receiver<()>,
}

impl Deref for LocalHubs {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.broker
    }
}

impl Drop for LocalHubs {
    fn drop(&mut self) {
        // A runtime must not be waited for where another one runs.
        self.runtime.take().expect("invariant: it is taken once").shutdown_background();
    }
}

impl LocalHubs {
    /// The name of the thread that serves.
    pub const THREAD: &str = "event-hubs-local";

    /// Start an endpoint.
    ///
    /// # Panics
    /// If the port is taken.
    pub async fn start(settings: Settings) -> Self {
        Self::start_blocking(settings)
    }

    /// Start an endpoint where there is no runtime.
    ///
    /// # Panics
    /// If the port is taken.
    pub fn start_blocking(settings: Settings) -> Self {
        Self::try_start(settings).expect("the port is free")
    }

    /// Start an endpoint.
    ///
    /// # Errors
    /// If the port is taken.
    pub fn try_start(settings: Settings) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name(Self::THREAD)
            .enable_all()
            .build()?;
        let entered = runtime.enter();
        let reserved = bind(settings.port)?;
        let port = reserved.local_addr()?.port();
        drop(entered);
        let broker = Arc::new(Broker::new(settings));
        let hubs = Self { broker, port, _reserved: reserved, listening: Mutex::default(), runtime: Some(runtime) };
        hubs.try_listen()?;
        Ok(hubs)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Scheme, host and port, for example `amqp://127.0.0.1:5672`.
    pub fn origin(&self) -> String {
        format!("amqp://127.0.0.1:{}", self.port)
    }

    /// A connection string for a hub.
    pub fn connection_string(&self, hub: &str) -> String {
        let default = Key { name: "RootManageSharedAccessKey".to_owned(), secret: "SAS_KEY_VALUE".to_owned() };
        let Key { name, secret } = self.broker.settings.key.clone().unwrap_or(default);
        format!(
            "Endpoint=sb://127.0.0.1:{};SharedAccessKeyName={name};SharedAccessKey={secret};EntityPath={hub};\
             UseDevelopmentEmulator=true",
            self.port
        )
    }

    /// The hubs themselves, to be shared with other threads.
    pub fn broker(&self) -> Arc<Broker> {
        Arc::clone(&self.broker)
    }

    /// Refuse connections and end those that are open. What is stored is kept.
    ///
    /// # Panics
    /// If the port cannot be closed.
    pub fn shut_down_listener(&self) {
        let listening = self.listening.lock().expect("invariant: nothing panics with this lock").take();
        if let Some(Listening { stop, stopped }) = listening {
            let _gone = stop.send(());
            stopped.recv_timeout(SHUT_DOWN).expect("the thread of the endpoint closes the port");
        }
    }

    /// Listen again at the same port.
    ///
    /// # Panics
    /// If the port cannot be had.
    pub fn listen_again(&self) {
        self.try_listen().expect("the port was kept");
    }

    fn try_listen(&self) -> io::Result<()> {
        let mut listening = self.listening.lock().expect("invariant: nothing panics with this lock");
        if listening.is_some() {
            return Ok(());
        }
        let runtime = self.runtime.as_ref().expect("invariant: it is taken when this is dropped");
        let _entered = runtime.enter();
        let listener = bind(self.port)?.listen(BACKLOG)?;
        let (stop, stopping) = oneshot::channel();
        let (done, stopped) = mpsc::channel();
        let broker = Arc::clone(&self.broker);
        runtime.spawn(async move {
            accept(listener, broker, stopping).await;
            let _nobody_waits = done.send(());
        });
        *listening = Some(Listening { stop, stopped });
        Ok(())
    }
}

/// A socket that shares its port with one of ours that does not listen.
fn bind(port: u16) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    Ok(socket)
}

/// Serve connections until it is told to stop, and end them then.
async fn accept(listener: TcpListener, broker: Arc<Broker>, mut stopping: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopping => break,
        };
        if let Ok((stream, _)) = accepted {
            connections.spawn(Connection::new(Arc::clone(&broker), stream).run());
        }
        // Those that ended are forgotten.
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    connections.shutdown().await;
}
