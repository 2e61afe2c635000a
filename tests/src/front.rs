//! TLS, and WebSockets over TLS, in front of a port of this machine that speaks
//! neither, with a certificate of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use futures::{SinkExt as _, StreamExt as _};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Message, http::HeaderValue};

/// Where AMQP is bound to WebSockets, and under which name.
const BINDING: (&str, &str) = ("/$servicebus/websocket/", "amqp");
const BLOCK_BYTES: usize = 64 << 10;

/// What is spoken in front of the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// TLS.
    Tls,
    /// WebSockets over TLS, bound to AMQP (OASIS, "AMQP WebSocket Binding 1.0").
    WebSocket,
}

/// A port in front of another one; it is gone when this is dropped.
pub struct Front {
    port: u16,
    certificate: String,
    runtime: Option<Runtime>,
}

impl Drop for Front {
    fn drop(&mut self) {
        // A runtime must not be waited for where another one runs.
        self.runtime.take().expect("invariant: it is taken once").shutdown_background();
    }
}

impl Front {
    /// Listen in front of this port.
    ///
    /// # Panics
    /// If no certificate can be made, or no port is free.
    pub fn start(speaks: Speaks, port: u16) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]);
        let made = made.expect("a certificate can be made");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("the provider has TLS 1.3").with_no_client_auth();
        let config = config.with_single_cert(vec![made.cert.der().clone()], key).expect("the key is the certificate's");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a thread can be had");
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let own_port = listener.local_addr().expect("a bound socket has an address").port();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A connection that fails is its client's to notice.
                tokio::spawn(serve(stream, acceptor.clone(), speaks, SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
            }
        });
        Self { port: own_port, certificate: made.cert.pem(), runtime: Some(runtime) }
    }

    /// The port that is listened at.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Write the certificate to a file, for clients to trust.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn write_certificate(&self, path: &Path) {
        std::fs::write(path, &self.certificate).expect("the certificate can be written");
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, speaks: Speaks, behind: SocketAddr) -> std::io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut behind = TcpStream::connect(behind).await?;
    match speaks {
        Speaks::Tls => drop(tokio::io::copy_bidirectional(&mut stream, &mut behind).await?),
        Speaks::WebSocket => web_socket(stream, behind).await?,
    }
    Ok(())
}

/// Carry bytes between a WebSocket and what is behind it.
async fn web_socket<S: AsyncRead + AsyncWrite + Unpin>(stream: S, behind: TcpStream) -> std::io::Result<()> {
    #[expect(clippy::result_large_err, reason = "the library's own type")]
    let check = |request: &Request, mut response: Response| {
        assert_eq!(request.uri().path(), BINDING.0);
        assert_eq!(request.headers()["Sec-WebSocket-Protocol"], BINDING.1);
        response.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(BINDING.1));
        Ok(response)
    };
    let socket = tokio_tungstenite::accept_hdr_async(stream, check).await.map_err(std::io::Error::other)?;
    let (mut outgoing, mut incoming) = socket.split();
    let (mut read, mut write) = behind.into_split();
    let up = async {
        while let Some(message) = incoming.next().await {
            match message.map_err(std::io::Error::other)? {
                Message::Binary(bytes) => write.write_all(&bytes).await?,
                Message::Close(_) => break,
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        write.shutdown().await
    };
    let down = async {
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            let bytes = read.read(&mut block).await?;
            if bytes == 0 {
                return outgoing.close().await.map_err(std::io::Error::other);
            }
            let message = Message::binary(block[..bytes].to_vec());
            outgoing.send(message).await.map_err(std::io::Error::other)?;
        }
    };
    tokio::try_join!(up, down).map(|_| ())
}
