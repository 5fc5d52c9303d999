//! What a peer may send about files instead: never a panic or much memory, and what is understood
//! says the same when it is written again.

use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;

use serde::{Serialize, de::DeserializeOwned};
use strait_fuzz::Target;

use super::super::Failure;
use super::super::message::{
    Answer, Cost, Ending, Header, Message, Pushed, Question, RequestId, decode, encode,
};
use super::super::store::FileMeta;
use crate::streams::TransferId;

fn corpus() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/bulk"))
}

fn understood<T: Serialize + DeserializeOwned + PartialEq + Debug>(input: &[u8]) -> bool {
    decode::<T>(input).is_ok_and(|message| {
        assert_eq!(decode::<T>(&encode(&message)).unwrap(), message);
        true
    })
}

#[test]
fn messages() {
    let target = Target {
        name: "bulk",
        corpora: &[&corpus()],
        memory_bytes_max: 4 << 20,
        per_mille: 1000,
    };
    let mut any = [0; 3];
    target.run(|input| {
        any[0] += usize::from(understood::<Message>(input));
        any[1] += usize::from(understood::<Header>(input));
        any[2] += usize::from(understood::<Ending>(input));
    });
    assert!(any.iter().all(|any| *any > 0), "{any:?} understood");
}

#[test]
#[ignore = "writes the corpus anew: only for a new version of the formats"]
fn write_corpus() {
    fs::create_dir_all(corpus()).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        fs::write(corpus().join(format!("{name}.bin")), bytes).unwrap();
    };
    let transfer = TransferId(7);
    let request = RequestId(1 << 100);
    let path = "backups/db.dump".to_owned();
    let meta = FileMeta {
        mode: Some(0o640),
        ..FileMeta::default()
    };
    let file = Pushed {
        path: path.clone(),
        length: Some(1 << 40),
        meta,
    };
    let failure = Failure::Io("no such luck".into());
    let question = Question::Kept(file.clone());
    let answer = Answer::Kept(Some((5, [9; 32])));
    let messages = [
        Message::Credit {
            transfer,
            batches: 16,
        },
        Message::Failed { transfer, failure },
        Message::Pull {
            transfer,
            path,
            limit: None,
        },
        Message::Ask { request, question },
        Message::Answer {
            request,
            outcome: Ok(answer),
        },
        Message::Ask {
            request,
            question: Question::MakeFolders {
                folders: vec![("backups".to_owned(), meta); 2],
            },
        },
        Message::Answer {
            request,
            outcome: Ok(Answer::Folders(vec![Ok(meta), Err(Failure::NotFound)])),
        },
    ];
    for (n, message) in messages.iter().enumerate() {
        write(&format!("message-{n}"), &encode(message));
    }
    let offset = 1000;
    let push = Header::Push {
        file: file.clone(),
        offset,
    };
    write("push", &encode(&push));
    write("push-new", &encode(&Header::PushNew { file, offset }));
    write("pull", &encode(&Header::Pull { length: 3, meta }));
    let ending = Ending::Whole {
        length: 1 << 33,
        digest: [3; 32],
        cost: Cost::default(),
    };
    write("whole", &encode(&ending));
    write("aborted", &encode(&Ending::Aborted(Failure::Changed)));
}
