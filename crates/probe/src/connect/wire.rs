//! A connection, encrypted or not, to somebody who has to show that it is PostgreSQL.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::{Failure, Stage, channel_binding::tls_server_end_point};
use crate::replication_protocol::{ProtocolError, can_be_a_greeting, said};

/// How far a connection has come, for the message when it goes no further.
#[derive(Debug, Clone)]
pub(super) struct Progress(Arc<Mutex<Stage>>);

impl Progress {
    pub(super) fn new() -> Progress {
        Progress(Arc::new(Mutex::new(Stage::Connecting)))
    }

    pub(super) fn set(&self, stage: Stage) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    pub(super) fn stage(&self) -> Stage {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection.
pub(super) struct Wire<S> {
    stream: Stream<S>,
    progress: Progress,
    is_greeted: bool,
}

enum Stream<S> {
    Plain(S),
    Tls(Box<TlsStream<S>>),
}

impl<S> Wire<S> {
    pub(super) fn plain(stream: S, progress: &Progress) -> Wire<S> {
        Wire::new(Stream::Plain(stream), progress)
    }

    pub(super) fn tls(stream: TlsStream<S>, progress: &Progress) -> Wire<S> {
        Wire::new(Stream::Tls(Box::new(stream)), progress)
    }

    fn new(stream: Stream<S>, progress: &Progress) -> Wire<S> {
        progress.set(Stage::Greeting);
        Wire { stream, progress: progress.clone(), is_greeted: false }
    }

    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// What a password's proof can be bound to, if anything.
    pub(super) fn end_point(&self) -> Option<Vec<u8>> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => tls_server_end_point(stream.get_ref().1.peer_certificates()?.first()?),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        })?;
        // Who reads further takes the banner of another protocol for the length of a message, and waits for its end.
        let read = &buf.filled()[before..];
        if !self.is_greeted && !read.is_empty() {
            if !can_be_a_greeting(read) {
                let failure = Failure::Protocol(ProtocolError::NotPostgres { said: said(read) });
                return Poll::Ready(Err(io::Error::other(failure)));
            }
            self.is_greeted = true;
            self.progress.set(Stage::LoggingIn);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
