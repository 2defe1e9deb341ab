//! The one process that we have in a node's container: a connection to its PostgreSQL, and the agent's ear.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::BytesMut;
use futures_util::StreamExt;
use pgherd_agent::{Answer, Frame, Order};
use pgherd_images::contract;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split},
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::{
    Engine, EngineError,
    exec::{Exec, ExecOutput, Input, Output},
};

/// What may be on its way in one direction.
const BUFFER_BYTES: usize = 16 * 1024;

/// The bytes of a connection to PostgreSQL's unix socket in a container.
pub type Tunnel = DuplexStream;

/// Who has an ear for orders in a container. The tunnel that came with it ends with this.
#[derive(Debug)]
pub struct Attendant {
    orders: mpsc::UnboundedSender<(Order, oneshot::Sender<Answer>)>,
    _carriers: JoinSet<()>,
}

impl Attendant {
    /// Has the agent carry out a command, after those that it was given before, and returns how that ended: `None` where nobody
    /// says so any more, although it may have been carried out.
    pub async fn order(&self, arguments: &[&str], input: &str) -> Option<Answer> {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let (answer, answered) = oneshot::channel();
        self.orders.send((Order { arguments, input: input.to_owned() }, answer)).ok()?;
        answered.await.ok()
    }
}

/// Who waits for answers, in the order of their orders.
type Waiting = Arc<Mutex<VecDeque<oneshot::Sender<Answer>>>>;

impl Engine {
    /// Opens a byte stream to PostgreSQL's unix socket in a container, where peer authentication makes us superuser, and with it a
    /// way to have the agent do something.
    ///
    /// It works on a remote engine, needs no published port and no password. Where nobody listens yet, the far end waits as
    /// long as `patience`; what it says when it gives up is appended to `complaint`.
    ///
    /// # Errors
    /// What the engine says. That nobody listens shows at the first read.
    pub async fn attend(
        &self,
        container: &str,
        patience: Duration,
        complaint: &Arc<Mutex<String>>,
    ) -> Result<(Tunnel, Attendant), EngineError> {
        let milliseconds = patience.as_millis().to_string();
        let command = [contract::AGENT, "attend", "--wait-ms", &milliseconds];
        let Exec { output, input, .. } = self.exec(container, &command, false).await?;
        let (ours, theirs) = duplex(BUFFER_BYTES);
        let (from_client, to_client) = split(theirs);
        let (orders, given) = mpsc::unbounded_channel();
        let waiting = Waiting::default();
        let mut carriers = JoinSet::new();
        carriers.spawn(send(from_client, given, input, Arc::clone(&waiting)));
        carriers.spawn(receive(output, to_client, waiting, Arc::clone(complaint)));
        Ok((ours, Attendant { orders, _carriers: carriers }))
    }
}

/// Carries what the client says, and orders, until the client has nothing more to say.
async fn send(
    mut client: ReadHalf<DuplexStream>,
    mut orders: mpsc::UnboundedReceiver<(Order, oneshot::Sender<Answer>)>,
    mut input: Input,
    waiting: Waiting,
) {
    let mut said = BytesMut::with_capacity(BUFFER_BYTES);
    loop {
        let frame = tokio::select! {
            read = client.read_buf(&mut said) => match read {
                Ok(1..) => Frame::Postgres(said.split().freeze()),
                _ => break,
            },
            Some((order, answer)) = orders.recv() => {
                waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(answer);
                Frame::Order(order)
            }
        };
        if input.write_all(&frame.encode()).await.is_err() {
            break;
        }
    }
    // Fails only where the other end is gone already.
    drop(input.shutdown().await);
}

/// Carries what comes back, to whom it is for, until nothing more comes, or nothing that can be understood.
async fn receive(
    mut output: Output,
    mut client: WriteHalf<DuplexStream>,
    waiting: Waiting,
    complaint: Arc<Mutex<String>>,
) {
    let complain = |what: &str| complaint.lock().unwrap_or_else(PoisonError::into_inner).push_str(what);
    let mut received = BytesMut::new();
    'pieces: while let Some(Ok(piece)) = output.next().await {
        match piece {
            ExecOutput::Stdout(bytes) => received.extend_from_slice(&bytes),
            ExecOutput::Stderr(bytes) => complain(&String::from_utf8_lossy(&bytes)),
        }
        loop {
            match Frame::parse(&mut received) {
                Ok(None) => break,
                // A client that is gone may have left an order.
                Ok(Some(Frame::Postgres(bytes))) => drop(client.write_all(&bytes).await),
                Ok(Some(Frame::Answer(answer))) => {
                    let first = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    // Whoever gave the order may no longer want to know.
                    drop(first.map(|first| first.send(answer)));
                }
                Ok(Some(Frame::Order(_))) => {}
                Err(error) => {
                    complain(&format!("could not understand what the agent says: {error}"));
                    break 'pieces;
                }
            }
        }
    }
    waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    drop(client.shutdown().await);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use futures_util::stream;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn what_is_no_frame_ends_the_connection() {
        let answer = Answer { exit_code: Some(0), said: "done".to_owned() };
        let good =
            [Frame::Postgres(Bytes::from_static(b"row")).encode(), Frame::Answer(answer.clone()).encode()].concat();
        let bad = Bytes::from_static(b"X\0\0\0\0");
        let pieces = [good.into(), bad, Frame::Postgres(Bytes::from_static(b"never")).encode()];
        // As of a process that does not end by itself.
        let pieces = stream::iter(pieces.map(|bytes| Ok(ExecOutput::Stdout(bytes)))).chain(stream::pending());
        let (mut ours, theirs) = duplex(BUFFER_BYTES);
        let (_, to_client) = split(theirs);
        let (waiting, complaint) = (Waiting::default(), Arc::<Mutex<String>>::default());
        let (first, answered) = oneshot::channel();
        let (second, unanswered) = oneshot::channel();
        waiting.lock().expect("nobody has panicked").extend([first, second]);
        let received = receive(Box::pin(pieces), to_client, waiting, Arc::clone(&complaint));
        timeout(Duration::from_secs(60), received).await.expect("an end");
        let mut carried = Vec::new();
        ours.read_to_end(&mut carried).await.expect("an end");
        assert_eq!(carried, b"row");
        assert_eq!(answered.await, Ok(answer));
        assert!(unanswered.await.is_err(), "an order was answered by what is no frame");
        let complaint = complaint.lock().expect("nobody has panicked").clone();
        assert_eq!(complaint, "could not understand what the agent says: a frame of unknown kind 0x58");
    }
}
