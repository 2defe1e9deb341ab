//! The two forms of a connection string, and the pairs of keywords and values that both are.

use super::ParseConninfoError;

/// Keyword and value.
pub(super) type Pair = (String, String);

/// How a connection URI begins.
const SCHEMES: [&str; 2] = ["postgresql://", "postgres://"];

/// Whether the text is a connection URI.
pub(super) fn is_uri(text: &str) -> bool {
    SCHEMES.iter().any(|scheme| text.starts_with(scheme))
}

/// Reads either form.
pub(super) fn pairs(text: &str) -> Result<Vec<Pair>, ParseConninfoError> {
    match SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme)) {
        Some(rest) => of_uri(rest),
        None => of_words(text),
    }
}

/// `keyword = 'value'`, with `\` before quotes and backslashes.
///
/// <https://www.postgresql.org/docs/17/libpq-connect.html#LIBPQ-CONNSTRING-KEYWORD-VALUE>
fn of_words(text: &str) -> Result<Vec<Pair>, ParseConninfoError> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let keyword = &rest[..end];
        let value = rest[end..].trim_start().strip_prefix('=');
        let value = value.ok_or_else(|| ParseConninfoError::NoValue(keyword.to_owned()))?.trim_start();
        let (value, after) = word(value).ok_or_else(|| ParseConninfoError::OpenQuote(keyword.to_owned()))?;
        pairs.push((keyword.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// The value at the beginning of the text, and what follows it. `None` where a quote is not closed.
fn word(text: &str) -> Option<(String, &str)> {
    let (quoted, text) = text.strip_prefix('\'').map_or((false, text), |text| (true, text));
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            '\'' if quoted => return Some((value, &text[at + 1..])),
            c if !quoted && c.is_whitespace() => return Some((value, &text[at..])),
            c => value.push(c),
        }
    }
    (!quoted).then_some((value, ""))
}

/// `user:password@host:port,host:port/dbname?keyword=value&…`, of which everything is optional.
///
/// <https://www.postgresql.org/docs/17/libpq-connect.html#LIBPQ-CONNSTRING-URIS>
fn of_uri(text: &str) -> Result<Vec<Pair>, ParseConninfoError> {
    let (text, query) = text.split_once('?').unwrap_or((text, ""));
    let (authority, database) = text.split_once('/').unwrap_or((text, ""));
    let (who, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = who.split_once(':').unwrap_or((who, ""));
    let servers: Vec<(&str, &str)> = hosts.split(',').map(host_and_port).collect();
    let joined = |part: fn(&(&str, &str)) -> String| servers.iter().map(part).collect::<Vec<_>>().join(",");
    let (hosts, ports) = (joined(|(host, _)| (*host).to_owned()), joined(|(_, port)| (*port).to_owned()));

    let mut pairs = Vec::new();
    for (keyword, value) in
        [("user", user), ("password", password), ("host", &*hosts), ("port", &*ports), ("dbname", database)]
    {
        if !value.is_empty() && value.chars().any(|c| c != ',') {
            pairs.push((keyword.to_owned(), decode(value)?));
        }
    }
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (keyword, value) =
            parameter.split_once('=').ok_or_else(|| ParseConninfoError::NoValue(parameter.to_owned()))?;
        pairs.push((decode(keyword)?, decode(value)?));
    }
    Ok(pairs)
}

/// An address of IPv6 is in brackets, because it has colons.
fn host_and_port(text: &str) -> (&str, &str) {
    match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((address, port)) => (address, port.strip_prefix(':').unwrap_or(port)),
        None => text.split_once(':').unwrap_or((text, "")),
    }
}

/// `%2F` is `/`.
fn decode(text: &str) -> Result<String, ParseConninfoError> {
    let broken = || ParseConninfoError::Percent(text.to_owned());
    let mut bytes = Vec::new();
    let mut parts = text.split('%');
    bytes.extend(parts.next().unwrap_or_default().bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).ok_or_else(broken)?;
        let is_hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let byte = u8::from_str_radix(digits, 16).ok().filter(|&byte| is_hexadecimal && byte != 0);
        bytes.push(byte.ok_or_else(broken)?);
        bytes.extend(rest.bytes());
    }
    String::from_utf8(bytes).map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> String {
        match pairs(text) {
            Ok(pairs) => pairs.iter().map(|(k, v)| format!("{k}=<{v}>")).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn both_forms_are_read_as_libpq_does() {
        for (text, pairs) in [
            ("", ""),
            ("host=a user=b", "host=<a> user=<b>"),
            ("  host = a   user='b c' ", "host=<a> user=<b c>"),
            (r"password='it\'s \\' user=x\ y", r"password=<it's \> user=<x y>"),
            ("user='' host=a", "user=<> host=<a>"),
            ("host=a port", "missing \"=\" after \"port\" in the connection string"),
            ("host='a", "the quoted value of \"host\" has no end in the connection string"),
            ("postgresql://", ""),
            ("postgres:///db", "dbname=<db>"),
            (
                "postgresql://u:p%40@a:1,b,[::1]:3/d?sslmode=verify-full&application_name=x%20y",
                "user=<u> password=<p@> host=<a,b,::1> port=<1,,3> dbname=<d> sslmode=<verify-full> application_name=<x y>",
            ),
            ("postgresql://%2Frun%2Fpostgresql/d", "host=</run/postgresql> dbname=<d>"),
            ("postgresql://a?sslmode", "missing \"=\" after \"sslmode\" in the connection string"),
            ("postgresql://a%2/", "invalid percent-encoded value \"a%2\" in the connection string"),
            ("postgresql://a%00/", "invalid percent-encoded value \"a%00\" in the connection string"),
        ] {
            assert_eq!(read(text), pairs, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_pairs_or_an_error(text in ".*", query in ".*") {
            let _ = pairs(&text);
            let _ = pairs(&format!("postgresql://{query}"));
        }

        #[test]
        fn a_value_survives_its_quoting(value in any::<String>()) {
            let quoted = value.replace('\\', r"\\").replace('\'', r"\'");
            let text = format!("a='{quoted}' b=c");
            prop_assert_eq!(pairs(&text).unwrap(), [("a".to_owned(), value), ("b".to_owned(), "c".to_owned())]);
        }
    }
}
