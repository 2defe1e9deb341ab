//! Whatever a server says, the reader holds back no more than one message, and does not panic.
//!
//! The last byte of an input says how this end behaves, all others are the server's. So a recorded session is a seed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgherd_probe::{
    TimelineId,
    replication_protocol::{
        ChannelBinding, Command, Event, IdentifySystem, Login, MAX_MESSAGE_BYTES, ProtocolError, ReadReplicationSlot, Row,
        Session, Show, TimelineHistory,
    },
};

fn login(how: u8) -> Login {
    let login = Login::new("fuzz");
    match how % 4 {
        0 => login,
        1 => login.with_password("walrus"),
        2 => login.with_password("walrus").over_tls(Some(vec![how; 32])),
        _ => login.with_password("walrus").over_tls(None).with_channel_binding(ChannelBinding::Require),
    }
}

fn ask(session: &mut Session, number: usize) -> Result<(), ProtocolError> {
    match number % 4 {
        0 => session.ask(&IdentifySystem),
        1 => session.ask(&Show("wal_segment_size".to_owned())),
        2 => session.ask(&TimelineHistory(TimelineId(2))),
        _ => session.ask(&ReadReplicationSlot("kept".to_owned())),
    }
}

/// As the answer to each command, whichever it was.
fn read(row: &Row) {
    let _ = IdentifySystem.read(row);
    let _ = Show(String::new()).read(row);
    let _ = TimelineHistory(TimelineId(2)).read(row);
    let _ = ReadReplicationSlot(String::new()).read(row);
}

fuzz_target!(|data: &[u8]| {
    let Some((&how, said)) = data.split_last() else { return };
    let mut session = Session::begin(login(how), "fuzz");
    let mut asked = 0;
    for piece in said.chunks(usize::from(how >> 2) * 16 + 1) {
        session.receive(piece);
        loop {
            match session.next_event() {
                Err(_) => return,
                Ok(None) => break,
                Ok(Some(event)) => {
                    if let Event::Answered(row) = &event {
                        read(row);
                    }
                    if !matches!(event, Event::Notice(_)) {
                        ask(&mut session, asked).expect("a session that is ready");
                        asked += 1;
                    }
                }
            }
        }
        session.take_outgoing();
        assert!(session.buffered() <= MAX_MESSAGE_BYTES);
    }
});
