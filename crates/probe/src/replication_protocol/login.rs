//! Who this is, and whether the server knows it.
//!
//! <https://www.postgresql.org/docs/17/protocol-flow.html#PROTOCOL-FLOW-START-UP>,
//! <https://www.postgresql.org/docs/17/sasl-authentication.html>

use std::{fmt, io};

use bytes::BytesMut;
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::{
    authentication::{
        md5_hash,
        sasl::{self, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256},
    },
    message::{backend::Message, frontend},
};

use super::ProtocolError;

/// Whether the password's proof shall be bound to the TLS connection, so that nobody in between can pass it on.
///
/// <https://www.postgresql.org/docs/17/libpq-connect.html#LIBPQ-CONNECT-CHANNEL-BINDING>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// Where both ends can.
    #[default]
    Prefer,
    /// Or else there is no session.
    Require,
}

/// With what a session is begun.
#[derive(Clone)]
pub struct Login {
    user: String,
    password: Option<Vec<u8>>,
    channel_binding: ChannelBinding,
    is_encrypted: bool,
    tls_server_end_point: Option<Vec<u8>>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Login {
    /// As `user`, without a password and without TLS.
    #[must_use]
    pub fn new(user: &str) -> Login {
        Login {
            user: user.to_owned(),
            password: None,
            channel_binding: ChannelBinding::default(),
            is_encrypted: false,
            tls_server_end_point: None,
        }
    }

    /// With a password, in case the server asks for one.
    #[must_use]
    pub fn with_password(self, password: impl Into<Vec<u8>>) -> Login {
        Login { password: Some(password.into()), ..self }
    }

    /// With a wish about channel binding.
    #[must_use]
    pub fn with_channel_binding(self, channel_binding: ChannelBinding) -> Login {
        Login { channel_binding, ..self }
    }

    /// Over TLS, to a server whose certificate has this hash, which is `None` where none is defined for it; or, without
    /// one, through a unix socket, which nobody listens to either.
    ///
    /// <https://www.rfc-editor.org/rfc/rfc5929#section-4>
    #[must_use]
    pub fn over_tls(self, tls_server_end_point: Option<Vec<u8>>) -> Login {
        Login { is_encrypted: true, tls_server_end_point, ..self }
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }

    fn password(&self) -> Result<&[u8], ProtocolError> {
        self.password.as_deref().ok_or(ProtocolError::NoPassword)
    }

    fn may_do_without_channel_binding(&self) -> Result<(), ProtocolError> {
        match self.channel_binding {
            ChannelBinding::Require => Err(ProtocolError::NoChannelBinding),
            ChannelBinding::Disable | ChannelBinding::Prefer => Ok(()),
        }
    }
}

/// How far the server has been convinced.
pub(super) enum Authentication {
    /// It has not said yet what it wants.
    Unasked(Login),
    /// It wants to know more, and then proves that it knows the password's verifier, too.
    Scram(ScramSha256),
    /// It has to prove it now.
    Unproven(ScramSha256),
    /// It says no or yes.
    Decided,
}

/// What follows from a message.
pub(super) enum Next {
    /// The login goes on.
    Goes(Authentication),
    /// The server is convinced.
    Done,
}

impl Authentication {
    /// Takes a message of the server, and writes the answer.
    pub(super) fn take(self, tag: u8, message: &Message, out: &mut BytesMut) -> Result<Next, ProtocolError> {
        let unproven = |error: io::Error| ProtocolError::Unproven(error.to_string());
        match (self, message) {
            (Authentication::Decided, Message::AuthenticationOk) => Ok(Next::Done),
            (Authentication::Unasked(login), message) => Authentication::begin(&login, tag, message, out),
            (Authentication::Scram(mut scram), Message::AuthenticationSaslContinue(body)) => {
                scram.update(body.data()).map_err(unproven)?;
                frontend::sasl_response(scram.message(), out).map_err(unproven)?;
                Ok(Next::Goes(Authentication::Unproven(scram)))
            }
            (Authentication::Unproven(mut scram), Message::AuthenticationSaslFinal(body)) => {
                scram.finish(body.data()).map_err(unproven)?;
                Ok(Next::Goes(Authentication::Decided))
            }
            _ => Err(ProtocolError::Unexpected { tag, during: "during authentication" }),
        }
    }

    fn begin(login: &Login, tag: u8, message: &Message, out: &mut BytesMut) -> Result<Next, ProtocolError> {
        let zero_byte = |_| ProtocolError::ZeroByte("the password".to_owned());
        let unsupported = |name: &str| Err(ProtocolError::Authentication(name.to_owned()));
        match message {
            Message::AuthenticationOk => {
                login.may_do_without_channel_binding()?;
                return Ok(Next::Done);
            }
            Message::AuthenticationCleartextPassword => {
                login.may_do_without_channel_binding()?;
                if !login.is_encrypted {
                    return Err(ProtocolError::ClearText);
                }
                frontend::password_message(login.password()?, out).map_err(zero_byte)?;
            }
            Message::AuthenticationMd5Password(body) => {
                login.may_do_without_channel_binding()?;
                let hash = md5_hash(login.user.as_bytes(), login.password()?, body.salt());
                frontend::password_message(hash.as_bytes(), out).map_err(zero_byte)?;
            }
            Message::AuthenticationSasl(body) => {
                let mechanisms: Vec<&str> =
                    body.mechanisms().collect().map_err(|error| ProtocolError::malformed(tag, &error))?;
                return Ok(Next::Goes(Authentication::Scram(Authentication::scram(login, &mechanisms, out)?)));
            }
            Message::AuthenticationKerberosV5 => return unsupported("Kerberos"),
            Message::AuthenticationScmCredential => return unsupported("SCM"),
            Message::AuthenticationGss => return unsupported("GSSAPI"),
            Message::AuthenticationSspi => return unsupported("SSPI"),
            _ => return Err(ProtocolError::Unexpected { tag, during: "during authentication" }),
        }
        Ok(Next::Goes(Authentication::Decided))
    }

    /// Takes the strongest mechanism of those that are offered. Who could bind and is not offered it says so, and the
    /// server notices if somebody in between has taken the offer away.
    fn scram(login: &Login, mechanisms: &[&str], out: &mut BytesMut) -> Result<ScramSha256, ProtocolError> {
        let wanted = login.channel_binding != ChannelBinding::Disable;
        let end_point = login.tls_server_end_point.clone().filter(|_| wanted);
        let (binding, mechanism) = match end_point {
            Some(hash) if mechanisms.contains(&SCRAM_SHA_256_PLUS) => {
                (sasl::ChannelBinding::tls_server_end_point(hash), SCRAM_SHA_256_PLUS)
            }
            _ if !mechanisms.contains(&SCRAM_SHA_256) => {
                return Err(ProtocolError::Authentication(mechanisms.join(" or ")));
            }
            Some(_) => (sasl::ChannelBinding::unrequested(), SCRAM_SHA_256),
            None => (sasl::ChannelBinding::unsupported(), SCRAM_SHA_256),
        };
        if mechanism == SCRAM_SHA_256 {
            login.may_do_without_channel_binding()?;
        }
        let scram = ScramSha256::new(login.password()?, binding);
        let written = frontend::sasl_initial_response(mechanism, scram.message(), out);
        written.map_err(|error| ProtocolError::Unproven(error.to_string()))?;
        Ok(scram)
    }
}
