//! A client of an event hub on a thread of its own.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use tokio::sync::{mpsc, oneshot};

use super::client::GOODBYE;
use super::{Connection, HubSettings, Trouble};
use crate::env;

/// The answer of a client, on its way.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, Trouble>>;

/// What a client is asked, and what is done with its answer.
type Question<C> = Box<dyn for<'a> FnOnce(&'a C) -> BoxFuture<'a, ()> + Send>;

/// What can live on a thread of its own.
pub(super) trait Client: Send + Sync + 'static {
    /// Say goodbye to the service, which may not answer.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// A client of an event hub on a thread of its own, which answers one question after
/// another. It is closed when this is dropped.
///
/// The official client loses what comes while it is about to wait for it: news of
/// credit (`SenderFlowState::consume` of fe2o3-amqp 0.16.2 listens after it has
/// looked), and the answer to a message that is not noted as sent yet
/// (`send_payload_with_transfer`). Where its tasks share one thread nothing can come
/// in between; elsewhere an exchange may hang until its deadline.
#[expect(private_bounds, reason = "nobody else has clients")]
pub struct Solitary<C: Client> {
    questions: mpsc::Sender<Question<C>>,
    ended: oneshot::Receiver<()>,
}

/// A connection for questions about an event hub.
pub type Inquiry = Solitary<Connection>;

impl Client for Connection {
    async fn close(self) {
        Self::close(self).await;
    }
}

impl Inquiry {
    /// Open a connection, as [`HubSettings::connect`] does.
    ///
    /// # Errors
    /// What goes wrong; nothing is tried twice.
    pub async fn open(hub: &HubSettings, consumer_group: &str, timeout: Duration) -> Result<Self, Trouble> {
        let (hub, consumer_group) = (hub.clone(), consumer_group.to_owned());
        Self::start("weir-ask", move || async move { hub.connect(&consumer_group, timeout).await }).await
    }
}

#[expect(private_bounds, reason = "nobody else has clients")]
impl<C: Client> Solitary<C> {
    /// Start a thread of this name with the client that `open` opens.
    ///
    /// # Errors
    /// What goes wrong with that; that there is no thread.
    pub(super) async fn start<F: Future<Output = Result<C, Trouble>> + Send>(
        name: &str,
        open: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Self, Trouble> {
        let (questions, mut inbox) = mpsc::channel::<Question<C>>(1);
        let (opened, told) = oneshot::channel();
        let (ending, ended) = oneshot::channel();
        let thread = env::solitary(name, move || async move {
            match open().await {
                Ok(client) => {
                    // Without a listener nobody asks either.
                    let _unwanted = opened.send(Ok(()));
                    while let Some(question) = inbox.recv().await {
                        question(&client).await;
                    }
                    client.close().await;
                    let _unwanted = ending.send(());
                }
                Err(trouble) => drop(opened.send(Err(trouble))),
            }
        });
        thread.map_err(|error| Trouble::gone(error.to_string()))?;
        told.await.map_err(|_| gone())??;
        Ok(Self { questions, ended })
    }

    /// Ask the client.
    ///
    /// # Errors
    /// What goes wrong; nothing is tried twice.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl for<'a> FnOnce(&'a C) -> Answer<'a, T> + Send + 'static,
    ) -> Result<T, Trouble> {
        let (answer, told) = oneshot::channel();
        // Whoever does not wait any more does not want to know.
        let asking = boxed(move |client| question(client).map(|known| drop(answer.send(known))).boxed());
        self.questions.send(asking).await.map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }

    /// Say goodbye, and wait for a while until that is done.
    pub async fn close(self) {
        let Self { questions, ended } = self;
        drop(questions);
        let _said = tokio::time::timeout(GOODBYE, ended).await;
    }
}

/// Says which lifetimes a closure has.
fn boxed<C>(question: impl for<'a> FnOnce(&'a C) -> BoxFuture<'a, ()> + Send + 'static) -> Question<C> {
    Box::new(question)
}

fn gone() -> Trouble {
    Trouble::gone("the thread of a connection ended")
}
