//! The reader, with what PostgreSQL 15, 17 and 18 sent to it, whole, cut off, and changed.
//!
//! The sessions are what servers sent to the example `replication`, which asks for two slots, `kept` and `missing`. In
//! those with SCRAM the server answers to a nonce that nobody draws a second time.

use pgherd_probe::{
    Lsn, TimelineId,
    replication_protocol::{
        Command, Event, IdentifySystem, Login, MAX_MESSAGE_BYTES, ProtocolError, ReadReplicationSlot, Row, Session,
        Show, TimelineHistory,
    },
};
use proptest::prelude::*;

macro_rules! sessions {
    ($($name:literal),+) => { [$(($name, include_bytes!(concat!("../sessions/", $name, ".bin")).as_slice())),+] };
}

const SESSIONS: [(&str, &[u8]); 12] = sessions!(
    "15-trust",
    "15-md5",
    "15-scram",
    "15-wrong-password",
    "17-trust",
    "17-md5",
    "17-scram",
    "17-wrong-password",
    "18-trust",
    "18-md5",
    "18-scram",
    "18-wrong-password"
);

fn slot(name: &str) -> ReadReplicationSlot {
    ReadReplicationSlot(name.to_owned())
}

/// The commands of the example, in turn.
fn ask(session: &mut Session, number: usize) -> Result<(), ProtocolError> {
    match number % 5 {
        0 => session.ask(&IdentifySystem),
        1 => session.ask(&Show("wal_segment_size".to_owned())),
        2 => session.ask(&TimelineHistory(TimelineId(2))),
        3 => session.ask(&slot("kept")),
        _ => session.ask(&slot("missing")),
    }
}

/// Plays what a server says, in pieces, and returns all events and how it ended. Whatever it says, no more is held back
/// than one message.
fn play(said: &[u8], piece: usize) -> (Vec<Event>, Result<Session, ProtocolError>) {
    let mut session = Session::begin(Login::new("replicator").with_password("walrus"), "test");
    let mut events = Vec::new();
    let mut asked = 0;
    for piece in said.chunks(piece.max(1)) {
        session.receive(piece);
        loop {
            match session.next_event() {
                Err(error) => return (events, Err(error)),
                Ok(None) => break,
                Ok(Some(event)) => {
                    if !matches!(event, Event::Notice(_)) {
                        ask(&mut session, asked).expect("a session that is ready");
                        asked += 1;
                    }
                    events.push(event);
                }
            }
        }
        assert!(session.buffered() <= MAX_MESSAGE_BYTES, "{} bytes are held back", session.buffered());
    }
    (events, Ok(session))
}

fn answers(events: &[Event]) -> Vec<&Row> {
    events.iter().filter_map(|event| if let Event::Answered(row) = event { Some(row) } else { None }).collect()
}

#[test]
fn real_sessions_are_understood() {
    for (name, said) in SESSIONS {
        for piece in [1, 7, said.len()] {
            let (events, ended) = play(said, piece);
            let Ok(mut session) = ended else {
                let error = ended.unwrap_err().to_string();
                match name.split_once('-').expect("a version and a way").1 {
                    "scram" | "wrong-password" => assert_eq!(
                        error, "the server did not prove that it knows the password: invalid nonce",
                        "{name}"
                    ),
                    _ => panic!("{name}: {error}"),
                }
                continue;
            };
            let version = session.server_version().expect("a version").major();
            assert!(name.starts_with(&version.to_string()), "{name} is of {version}");
            let [identity, segment_size, history, kept, missing] = answers(&events)[..] else {
                panic!("{name}: {events:?}");
            };
            let identity = IdentifySystem.read(identity).unwrap();
            assert_eq!(identity.timeline, TimelineId(2));
            assert_eq!(Show(String::new()).read(segment_size).unwrap(), "16MB");
            let fork =
                TimelineHistory(TimelineId(2)).read(history).unwrap().switch_from(TimelineId(1)).expect("a fork");
            let kept = slot("kept").read(kept).unwrap().expect("a slot");
            assert_eq!(kept.restart_timeline, Some(TimelineId(2)));
            let restart = kept.restart_lsn.expect("a position");
            assert!(
                Lsn(0x300_0000) < fork && fork < restart && restart <= identity.end,
                "{fork} {restart} {identity:?}"
            );
            assert_eq!(slot("missing").read(missing).unwrap(), None);
            assert_eq!(session.closed(), ProtocolError::Closed("before a command was answered"));
        }
    }
}

#[test]
fn a_session_that_is_cut_off_is_the_beginning_of_itself() {
    for (name, said) in SESSIONS {
        let (whole, _) = play(said, said.len());
        for length in 0..said.len() {
            let (events, ended) = play(&said[..length], 64);
            assert_eq!(events[..], whole[..events.len()], "{name} after {length} bytes");
            if let Ok(mut session) = ended {
                assert!(matches!(session.closed(), ProtocolError::Closed(_)));
            }
        }
    }
}

#[test]
fn a_byte_that_is_another_one_is_an_error_or_another_answer() {
    for (_, said) in SESSIONS {
        let mut said = said.to_vec();
        for position in 0..said.len() {
            let byte = said[position];
            for other in [0, 0x7F, 0xFF, byte ^ 1, byte.wrapping_add(1)] {
                said[position] = other;
                let _ = play(&said, 512);
            }
            said[position] = byte;
        }
    }
}

/// Where the messages of a session begin.
fn messages(said: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(length) = said.get(at + 1..at + 5) {
        starts.push(at);
        at += 1 + u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
    }
    assert_eq!(at, said.len(), "the recording ends with a message");
    starts
}

#[test]
fn a_message_that_is_too_long_or_too_short_is_refused_by_its_header() {
    let (_, said) = SESSIONS[4];
    let too_long = u32::try_from(MAX_MESSAGE_BYTES + 1).unwrap();
    for start in messages(said) {
        for length in [0, 3, too_long, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF_u32] {
            let mut said = said[..start + 5].to_vec();
            said[start + 1..].copy_from_slice(&length.to_be_bytes());
            let (_, ended) = play(&said, said.len());
            let error = ended.expect_err("the header alone is enough");
            let is_refused = match error {
                ProtocolError::NotPostgres { .. } => start == 0,
                ProtocolError::TooLong { length, .. } => length > MAX_MESSAGE_BYTES,
                ProtocolError::Malformed { .. } => !(4..=0x7FFF_FFFF).contains(&length),
                _ => false,
            };
            assert!(is_refused, "{error:?} for {length} at {start}");
        }
    }
}

/// A message of the server.
fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag], &length[..], body].concat()
}

/// What a server says that trusts everybody, up to its readiness.
fn greeting() -> Vec<u8> {
    let version = message(b'S', b"server_version\x0017.5\0");
    [message(b'R', &[0; 4]), version, message(b'Z', b"I")].concat()
}

fn error_after_greeting(then: &[u8]) -> String {
    let (_, ended) = play(&[&greeting(), then].concat(), usize::MAX);
    ended.expect_err("an error").to_string()
}

#[test]
fn an_answer_out_of_order_is_refused() {
    let description = message(b'T', b"\0\x01a\0\0\0\0\0\0\0\0\0\0\x19\xFF\xFF\xFF\xFF\xFF\xFF\0\0");
    let row = message(b'D', b"\0\x01\0\0\0\x01x");
    let ready = message(b'Z', b"I");
    for (then, error) in [
        (row.clone(), "unexpected message of type \"D\" in the answer to a command"),
        ([&description[..], &description].concat(), "unexpected message of type \"T\" in the answer to a command"),
        ([&description[..], &row, &row].concat(), "unexpected message of type \"D\" in the answer to a command"),
        ([&description[..], &ready].concat(), "unexpected message of type \"Z\" in the answer to a command"),
        (
            [&description[..], &message(b'D', b"\0\x02")].concat(),
            "malformed message of type \"D\": 2 values in 1 columns",
        ),
        (
            [&description[..], &message(b'D', b"\0\x01\0\0\0\x09x")].concat(),
            "malformed message of type \"D\": unexpected EOF",
        ),
        (message(b'T', b"\xFF\xFF"), "malformed message of type \"T\": 65535 columns"),
        (message(b'H', b"\0\0\0"), "unexpected message of type \"H\" in the answer to a command"),
        (message(b'W', b"\0\0\0"), "malformed message of type \"W\": unknown message tag `87`"),
        (message(b'E', b"VFATAL\0C57P01\0Mgoing down\0\0"), "FATAL: going down (SQLSTATE 57P01)"),
        (message(b'E', b"V"), "malformed message of type \"E\": unexpected EOF"),
    ] {
        assert_eq!(error_after_greeting(&then), error);
    }
}

#[test]
fn a_refused_command_is_not_the_end() {
    let refused = message(b'E', b"SERREUR\0VERROR\0C58P01\0Mno such file\0Dnowhere\0\0");
    let said = [greeting(), refused, message(b'Z', b"I")].concat();
    let (events, ended) = play(&said, 3);
    let [Event::Ready, Event::Refused(error)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(error.to_string(), "ERROR: no such file (SQLSTATE 58P01): nowhere");
    assert!(ended.is_ok());
}

/// How a login ends that the server asks for in this way.
fn login(login: Login, said: &[u8]) -> String {
    let mut session = Session::begin(login, "test");
    session.take_outgoing();
    session.receive(said);
    match session.next_event() {
        Ok(event) => format!("{event:?}, sends \"{}\"", session.take_outgoing().escape_ascii()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_password_is_not_given_away() {
    use pgherd_probe::replication_protocol::ChannelBinding;

    let clear_text = message(b'R', &[0, 0, 0, 3]);
    let md5 = message(b'R', &[0, 0, 0, 5, 1, 2, 3, 4]);
    let scram = message(b'R', b"\0\0\0\x0ASCRAM-SHA-256\0\0");
    let trust = message(b'R', &[0; 4]);
    let known = || Login::new("u").with_password("walrus");
    let bound = || known().over_tls(Some(vec![1])).with_channel_binding(ChannelBinding::Require);

    assert_eq!(login(known().over_tls(None), &clear_text), r#"None, sends "p\x00\x00\x00\x0bwalrus\x00""#);
    // By hand: "md5" and md5(md5("walrus" "u") and the salt).
    let md5_answer = r#"None, sends "p\x00\x00\x00(md58c5202cb48967a43f45d6a6b62e33cc5\x00""#;
    assert_eq!(login(known(), &md5), md5_answer);
    assert!(login(known(), &scram).starts_with("None, sends \"p"));
    for (with, said, error) in [
        (known(), &clear_text, "the server asks for the password in clear text, and the connection is not encrypted"),
        (Login::new("u"), &md5, "the server asks for a password, and none is known"),
        (Login::new("u"), &scram, "the server asks for a password, and none is known"),
        (bound(), &trust, "channel binding is required, and the server did not use it"),
        (bound(), &clear_text, "channel binding is required, and the server did not use it"),
        (bound(), &md5, "channel binding is required, and the server did not use it"),
        (bound(), &scram, "channel binding is required, and the server did not use it"),
        (
            known(),
            &message(b'R', b"\0\0\0\x0ASCRAM-SHA-1\0\0"),
            "the server asks for SCRAM-SHA-1 authentication, which is not supported",
        ),
        (known(), &message(b'R', &[0, 0, 0, 7]), "the server asks for GSSAPI authentication, which is not supported"),
        // Whoever skips the proof does not know the password's verifier.
        (known(), &[scram.clone(), trust.clone()].concat(), "unexpected message of type \"R\" during authentication"),
    ] {
        assert_eq!(login(with, said), error);
    }
}

#[test]
fn a_name_with_a_zero_byte_is_refused() {
    let mut session = Session::begin(Login::new("u"), "test");
    session.receive(&greeting());
    assert_eq!(session.next_event(), Ok(Some(Event::Ready)));
    let error = session.ask(&slot("a\0b")).unwrap_err();
    assert_eq!(error.to_string(), r#""READ_REPLICATION_SLOT \"a\0b\"" holds a zero byte"#);
    session.ask(&slot("a\"b")).unwrap();
    assert!(session.take_outgoing().ends_with(b"READ_REPLICATION_SLOT \"a\"\"b\"\0"));
    assert_eq!(
        session.ask(&IdentifySystem).unwrap_err().to_string(),
        "the session takes no command before a command was answered"
    );
}

/// Something like a message.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let tag = prop::sample::select(b"RSKZTDCENAGHWdcI123nst".to_vec());
    (tag, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(tag, body)| message(tag, &body))
}

proptest! {
    #[test]
    fn any_bytes_are_events_or_an_error(said in prop::collection::vec(any::<u8>(), 0..600), piece in 1..80_usize) {
        let _ = play(&said, piece);
        let _ = play(&[greeting(), said].concat(), piece);
    }

    #[test]
    fn any_messages_are_events_or_an_error(said in prop::collection::vec(any_message(), 0..20), piece in 1..80_usize) {
        let said = said.concat();
        let _ = play(&said, piece);
        let _ = play(&[greeting(), said].concat(), piece);
    }

    #[test]
    fn pieces_make_no_difference(which in 0..SESSIONS.len(), piece in 1..300_usize) {
        let (_, said) = SESSIONS[which];
        prop_assert_eq!(play(said, piece).0, play(said, said.len()).0);
    }
}
