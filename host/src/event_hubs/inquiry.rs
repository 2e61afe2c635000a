//! Questions about an event hub, over a connection on a thread of its own.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _, LocalBoxFuture};
use tokio::sync::{mpsc, oneshot};

use super::{Connection, HubSettings, Trouble};
use crate::env;

/// The answer to a question over a connection, on its way.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, Trouble>>;

/// A question, and what is done with its answer.
type Question = Box<dyn for<'a> FnOnce(&'a Connection) -> LocalBoxFuture<'a, ()> + Send>;

/// A connection for questions, on a thread of its own: where its tasks share one
/// thread nothing is lost between looking and listening (see [`Producer`]), and no
/// answer is waited for in vain. It is closed when this is dropped.
///
/// [`Producer`]: super::Producer
pub struct Inquiry {
    questions: mpsc::Sender<Question>,
}

impl Inquiry {
    /// Open a connection, as [`HubSettings::connect`] does.
    ///
    /// # Errors
    /// What goes wrong; nothing is tried twice.
    pub async fn open(hub: &HubSettings, consumer_group: &str, timeout: Duration) -> Result<Self, Trouble> {
        let (hub, consumer_group) = (hub.clone(), consumer_group.to_owned());
        let (questions, mut inbox) = mpsc::channel::<Question>(1);
        let (opened, told) = oneshot::channel();
        let thread = env::solitary("weir-ask", move || async move {
            match hub.connect(&consumer_group, timeout).await {
                Ok(connection) => {
                    // Without a listener nobody asks either.
                    let _unwanted = opened.send(Ok(()));
                    while let Some(question) = inbox.recv().await {
                        question(&connection).await;
                    }
                    connection.close().await;
                }
                Err(trouble) => drop(opened.send(Err(trouble))),
            }
        });
        thread.map_err(|error| Trouble::gone(error.to_string()))?;
        told.await.map_err(|_| ended())??;
        Ok(Self { questions })
    }

    /// Ask a question.
    ///
    /// # Errors
    /// What goes wrong; nothing is tried twice.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl for<'a> FnOnce(&'a Connection) -> Answer<'a, T> + Send + 'static,
    ) -> Result<T, Trouble> {
        let (answer, told) = oneshot::channel();
        // Whoever does not wait any more does not want to know.
        let asking = boxed(move |connection| question(connection).map(|known| drop(answer.send(known))).boxed_local());
        self.questions.send(asking).await.map_err(|_| ended())?;
        told.await.map_err(|_| ended())?
    }
}

/// Says which lifetimes a closure has.
fn boxed(question: impl for<'a> FnOnce(&'a Connection) -> LocalBoxFuture<'a, ()> + Send + 'static) -> Question {
    Box::new(question)
}

fn ended() -> Trouble {
    Trouble::gone("the thread that asks ended")
}
