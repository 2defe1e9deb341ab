//! What a connection string says.

use std::{
    env, fmt, fs,
    net::IpAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use tokio_postgres::{Config, config};

use super::{
    keywords::{self, Pair},
    passfile::{self, Wanted},
};
use crate::replication_protocol::{ChannelBinding, Login};

/// Where a server is without a word about it, as in Debian's packages.
const DEFAULT_HOST: &str = "/var/run/postgresql";

/// How long one server may take until it is ready for questions.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// What replication connections match in a password file.
const REPLICATION: &str = "replication";

/// Where connections lead, and how they are made safe: a connection string, completed from the environment.
///
/// All keywords of libpq are known. Those that it has for encryption by GSSAPI have no effect here, and those that would
/// make a connection safer than it can be made here are refused.
#[derive(Clone)]
pub struct Conninfo {
    pub(super) servers: Vec<Server>,
    /// All else that `tokio-postgres` understands, without a server.
    pub(super) config: Config,
    pub(super) ssl_mode: SslMode,
    pub(super) ssl_root_cert: PathBuf,
    pub(super) ssl_root_cert_is_given: bool,
    pub(super) requires_tls_1_3: bool,
    pub(super) channel_binding: ChannelBinding,
    pub(super) timeout: Duration,
    timeout_is_given: bool,
    passfile: PathBuf,
}

/// One server of a connection string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// A host name, an address, or the directory of a unix socket.
    pub host: String,
    /// Its address, where the name need not be looked up.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

impl Server {
    /// Whether it is reached through a unix socket.
    pub(super) fn is_local(&self) -> bool {
        self.address.is_none() && self.host.starts_with('/')
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\", port {}", self.host, self.port)
    }
}

/// How much TLS shall do.
///
/// <https://www.postgresql.org/docs/17/libpq-ssl.html#LIBPQ-SSL-PROTECTION>
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Nothing.
    Disable,
    /// Encrypt, if the server can.
    Prefer,
    /// Encrypt. Who the server is matters where the file of authorities is there.
    Require,
    /// Encrypt, to a server whose certificate comes from a trusted authority.
    VerifyCa,
    /// … and has the server's host name in it.
    VerifyFull,
}

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SslMode::Disable => "disable",
            SslMode::Prefer => "prefer",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        })
    }
}

/// A connection string that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseConninfoError {
    /// A keyword alone.
    #[error("missing \"=\" after \"{0}\" in the connection string")]
    NoValue(String),
    /// A quote that is not closed.
    #[error("the quoted value of \"{0}\" has no end in the connection string")]
    OpenQuote(String),
    /// `%` without two digits, or something that is no text.
    #[error("invalid percent-encoded value \"{0}\" in the connection string")]
    Percent(String),
    /// Not a keyword of libpq.
    #[error("invalid keyword \"{0}\" in the connection string")]
    Keyword(String),
    /// A keyword that would make the connection safer than it is made here.
    #[error("keyword \"{0}\" of the connection string is not supported")]
    Unsupported(String),
    /// A value that makes no sense.
    #[error("invalid value \"{value}\" of \"{keyword}\" in the connection string: expected {expected}")]
    Value {
        /// The keyword.
        keyword: String,
        /// Its value.
        value: String,
        /// What would have made sense.
        expected: &'static str,
    },
    /// Nobody to connect as.
    #[error("no user in the connection string, nor in PGUSER or USER")]
    NoUser,
    /// Lists that have to go together.
    #[error("{hosts} hosts and {others} values of \"{keyword}\" in the connection string")]
    Lengths {
        /// The other list.
        keyword: &'static str,
        /// How many hosts there are.
        hosts: usize,
        /// How many others.
        others: usize,
    },
}

/// Keywords of libpq, and the variables of the environment that stand for them.
///
/// <https://www.postgresql.org/docs/17/libpq-envars.html>
const VARIABLES: [(&str, &str); 12] = [
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("dbname", "PGDATABASE"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("application_name", "PGAPPNAME"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
];

impl FromStr for Conninfo {
    type Err = ParseConninfoError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Conninfo::parse(text, |variable| env::var(variable).ok())
    }
}

impl Conninfo {
    /// Whether a word is a keyword of connection strings.
    #[must_use]
    pub fn is_keyword(word: &str) -> bool {
        let mut probe = Draft::default();
        !matches!(probe.take(word, ""), Err(ParseConninfoError::Keyword(_)))
    }

    /// Whether a text is a connection URI.
    #[must_use]
    pub fn is_uri(text: &str) -> bool {
        keywords::is_uri(text)
    }

    /// Sets how long one server may take until it is ready for questions, unless the string says so itself. It is 5 s.
    #[must_use]
    pub fn or_timeout(mut self, timeout: Duration) -> Conninfo {
        if !self.timeout_is_given {
            self.timeout = timeout;
        }
        self
    }

    /// The servers, in the order in which they are tried.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// As whom.
    #[must_use]
    pub fn user(&self) -> &str {
        self.config.get_user().unwrap_or_default()
    }

    /// To which database, which has the user's name by default.
    #[must_use]
    pub fn database(&self) -> &str {
        self.config.get_dbname().unwrap_or_else(|| self.user())
    }

    fn parse(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Conninfo, ParseConninfoError> {
        let given = keywords::pairs(text)?;
        let is_given = |keyword: &str| given.iter().any(|(given, _)| given == keyword);
        let from_environment = |(keyword, name): &(&str, &str)| -> Option<Pair> {
            // Either of the two says where.
            let is_said =
                is_given(keyword) || (keyword.starts_with("host") && (is_given("host") || is_given("hostaddr")));
            if is_said { None } else { Some(((*keyword).to_owned(), variable(name)?)) }
        };
        let mut draft = Draft::default();
        let inherited: Vec<Pair> = VARIABLES.iter().filter_map(from_environment).collect();
        for (keyword, value) in inherited.iter().chain(&given) {
            draft.take(keyword, value)?;
        }
        draft.finish(&variable)
    }

    /// The password for a server: the string's, else the password file's.
    ///
    /// # Errors
    /// Where others may read the file.
    pub(super) fn password(&self, server: &Server, for_replication: bool) -> Result<Option<Vec<u8>>, PathBuf> {
        if let Some(password) = self.config.get_password() {
            return Ok(Some(password.to_vec()));
        }
        let Ok(metadata) = fs::metadata(&self.passfile) else { return Ok(None) };
        if metadata.is_file() && metadata.mode() & 0o077 != 0 {
            return Err(self.passfile.clone());
        }
        let Ok(file) = fs::read_to_string(&self.passfile) else { return Ok(None) };
        let host = if server.host == DEFAULT_HOST { "localhost" } else { &server.host };
        let database = if for_replication { REPLICATION } else { self.database() };
        let wanted = Wanted { host, port: server.port, database, user: self.user() };
        Ok(passfile::password(&file, wanted).map(String::into_bytes))
    }

    /// The password file that is looked into.
    pub(super) fn passfile(&self) -> &Path {
        &self.passfile
    }

    /// What a replication session with a server is begun with, but for TLS.
    pub(super) fn login(&self, password: Option<Vec<u8>>) -> Login {
        let login = Login::new(self.user()).with_channel_binding(self.channel_binding);
        match password {
            Some(password) => login.with_password(password),
            None => login,
        }
    }
}

/// A connection string that is being read.
#[derive(Default)]
struct Draft {
    config: Config,
    hosts: Vec<String>,
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
    passfile: Option<PathBuf>,
    ssl_mode: Option<SslMode>,
    ssl_root_cert: Option<PathBuf>,
    requires_tls_1_3: bool,
    channel_binding: ChannelBinding,
    timeout: Option<Duration>,
}

impl Draft {
    fn take(&mut self, keyword: &str, value: &str) -> Result<(), ParseConninfoError> {
        let invalid = |expected| {
            let (keyword, value) = (keyword.to_owned(), value.to_owned());
            ParseConninfoError::Value { keyword, value, expected }
        };
        let number = || value.parse::<u32>().map_err(|_| invalid("a number"));
        let seconds = || Ok(Duration::from_secs(number()?.into()));
        let is_on = || Ok(number()? != 0);
        match keyword {
            "host" => self.hosts = value.split(',').map(str::to_owned).collect(),
            "hostaddr" => {
                let addresses: Result<_, _> = value.split(',').map(str::parse).collect();
                self.addresses = addresses.map_err(|_| invalid("addresses"))?;
            }
            "port" => {
                let port = |port: &str| if port.is_empty() { Ok(5432) } else { port.parse() };
                let ports: Result<Vec<u16>, _> = value.split(',').map(port).collect();
                self.ports = ports.ok().filter(|ports| !ports.contains(&0)).ok_or_else(|| invalid("1 to 65535"))?;
            }
            "user" => drop(self.config.user(value)),
            "password" => drop(self.config.password(value)),
            "dbname" => drop(self.config.dbname(value)),
            "options" => drop(self.config.options(value)),
            "application_name" => drop(self.config.application_name(value)),
            "passfile" => self.passfile = Some(value.into()),
            "sslmode" => {
                self.ssl_mode = Some(match value {
                    "disable" => SslMode::Disable,
                    "prefer" => SslMode::Prefer,
                    "require" => SslMode::Require,
                    "verify-ca" => SslMode::VerifyCa,
                    "verify-full" => SslMode::VerifyFull,
                    _ => return Err(invalid("disable, prefer, require, verify-ca or verify-full")),
                });
            }
            "sslrootcert" if value == "system" => return Err(invalid("a file")),
            "sslrootcert" => self.ssl_root_cert = Some(value.into()),
            "ssl_min_protocol_version" => {
                self.requires_tls_1_3 = match value {
                    "TLSv1" | "TLSv1.1" | "TLSv1.2" | "" => false,
                    "TLSv1.3" => true,
                    _ => return Err(invalid("TLSv1.2 or TLSv1.3")),
                };
            }
            "channel_binding" => {
                self.channel_binding = match value {
                    "disable" => ChannelBinding::Disable,
                    "prefer" => ChannelBinding::Prefer,
                    "require" => ChannelBinding::Require,
                    _ => return Err(invalid("disable, prefer or require")),
                };
            }
            "connect_timeout" => self.timeout = Some(seconds()?).filter(|timeout| !timeout.is_zero()),
            "tcp_user_timeout" => {
                self.config.tcp_user_timeout(Duration::from_millis(number()?.into()));
            }
            "keepalives" => drop(self.config.keepalives(is_on()?)),
            "keepalives_idle" => drop(self.config.keepalives_idle(seconds()?)),
            "keepalives_interval" => drop(self.config.keepalives_interval(seconds()?)),
            "keepalives_count" => drop(self.config.keepalives_retries(number()?)),
            "target_session_attrs" => {
                self.config.target_session_attrs(match value {
                    "any" => config::TargetSessionAttrs::Any,
                    "read-write" => config::TargetSessionAttrs::ReadWrite,
                    "read-only" => config::TargetSessionAttrs::ReadOnly,
                    _ => return Err(invalid("any, read-write or read-only")),
                });
            }
            // Without effect: GSSAPI is not used, names are always sent, nothing is compressed, and everything is UTF-8.
            "gssencmode"
            | "gssdelegation"
            | "gsslib"
            | "krbsrvname"
            | "sslcompression"
            | "sslsni"
            | "client_encoding"
            | "fallback_application_name"
            | "replication"
            | "load_balance_hosts" => {}
            "sslcert"
            | "sslkey"
            | "sslpassword"
            | "sslcertmode"
            | "sslcrl"
            | "sslcrldir"
            | "sslnegotiation"
            | "require_auth"
            | "requirepeer"
            | "scram_client_key"
            | "scram_server_key"
            | "requiressl"
            | "ssl_max_protocol_version"
            | "service"
            | "servicefile" => {
                return Err(ParseConninfoError::Unsupported(keyword.to_owned()));
            }
            _ => return Err(ParseConninfoError::Keyword(keyword.to_owned())),
        }
        Ok(())
    }

    fn finish(mut self, variable: &impl Fn(&str) -> Option<String>) -> Result<Conninfo, ParseConninfoError> {
        let home = || PathBuf::from(variable("HOME").unwrap_or_default());
        let user = self.config.get_user().filter(|user| !user.is_empty()).map(str::to_owned);
        let user = user.or_else(|| variable("USER")).ok_or(ParseConninfoError::NoUser)?;
        self.config.user(user);
        let channel_binding = match self.channel_binding {
            ChannelBinding::Disable => config::ChannelBinding::Disable,
            ChannelBinding::Prefer => config::ChannelBinding::Prefer,
            ChannelBinding::Require => config::ChannelBinding::Require,
        };
        self.config.channel_binding(channel_binding);
        Ok(Conninfo {
            servers: self.servers()?,
            ssl_mode: self.ssl_mode.unwrap_or(SslMode::Prefer),
            ssl_root_cert_is_given: self.ssl_root_cert.is_some(),
            ssl_root_cert: self.ssl_root_cert.unwrap_or_else(|| home().join(".postgresql/root.crt")),
            requires_tls_1_3: self.requires_tls_1_3,
            channel_binding: self.channel_binding,
            timeout: self.timeout.unwrap_or(DEFAULT_TIMEOUT),
            timeout_is_given: self.timeout.is_some(),
            passfile: self.passfile.unwrap_or_else(|| home().join(".pgpass")),
            config: self.config,
        })
    }

    fn servers(&self) -> Result<Vec<Server>, ParseConninfoError> {
        let hosts = self.hosts.len().max(self.addresses.len()).max(1);
        let fits = |keyword, others: usize, is_fine: bool| {
            if is_fine { Ok(()) } else { Err(ParseConninfoError::Lengths { keyword, hosts, others }) }
        };
        let (addresses, ports) = (self.addresses.len(), self.ports.len());
        fits("hostaddr", addresses, addresses == 0 || self.hosts.is_empty() || addresses == self.hosts.len())?;
        fits("port", ports, ports <= 1 || ports == hosts)?;
        let server = |index: usize| {
            let address = self.addresses.get(index).copied();
            let named = self.hosts.get(index).filter(|host| !host.is_empty()).cloned();
            let host = named.or_else(|| address.map(|address| address.to_string()));
            Server {
                host: host.unwrap_or_else(|| DEFAULT_HOST.to_owned()),
                address,
                port: self.ports.get(index).or(self.ports.first()).copied().unwrap_or(5432),
            }
        };
        Ok((0..hosts).map(server).collect())
    }
}

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conninfo").field("servers", &self.servers).field("user", &self.user()).finish_non_exhaustive()
    }
}
