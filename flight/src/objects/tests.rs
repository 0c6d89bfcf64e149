//! Objects in a store of this process.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use minispark_engine::{
    disk::{DataDisks, Disk, Expected, RealDisk, rooted::is_not_allowed},
    runtime::{Session, SessionOptions},
    task::context::CancelFlag,
};
use object_store::memory::InMemory;

use super::{Objects, StoreRules};

fn disks() -> DataDisks {
    let objects = Objects::everywhere().with("s3://b", Arc::new(InMemory::new()));
    objects.beside(DataDisks::everywhere())
}

fn write(disk: &dyn Disk, path: &str, bytes: &[u8]) {
    let mut file = disk.create(Path::new(path)).unwrap();
    file.write_all(bytes).unwrap();
    file.sync().unwrap();
}

fn read(disk: &dyn Disk, path: &str, piece_bytes: usize) -> Vec<u8> {
    let file = disk.open(Path::new(path)).unwrap();
    let (mut bytes, mut piece) = (Vec::new(), vec![0; piece_bytes]);
    loop {
        match file.read_at(&mut piece, bytes.len() as u64).unwrap() {
            0 => break,
            read => bytes.extend_from_slice(&piece[..read]),
        }
    }
    bytes
}

#[test]
fn what_is_written_is_read_in_order_and_at_any_place() {
    let disks = disks();
    let bytes: Vec<u8> = (0..40_u32 << 18).flat_map(u32::to_le_bytes).collect();
    write(&*disks.outputs, "s3://b/large", &bytes);
    assert_eq!(disks.inputs.open(Path::new("s3://b/large")).unwrap().size().unwrap(), 40 << 20);
    for piece_bytes in [64 << 10, 1 << 20, 20 << 20] {
        assert!(read(&*disks.inputs, "s3://b/large", piece_bytes) == bytes, "{piece_bytes}");
    }
    let file = disks.inputs.open(Path::new("s3://b/large")).unwrap();
    for place in [30 << 20, 5, 30 << 20, (40 << 20) - 3, 1 << 20, 7] {
        let mut found = [0; 3];
        file.read_exact_at(&mut found, place as u64).unwrap();
        assert_eq!(found, bytes[place..place + 3], "{place}");
    }
    let mut behind = [0; 4];
    let error = file.read_exact_at(&mut behind, (40 << 20) - 3).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn an_object_is_not_there_before_it_is_finished() {
    let disks = disks();
    let path = Path::new("s3://b/new");
    let mut file = disks.outputs.create(path).unwrap();
    file.write_all(&vec![7; 40 << 20]).unwrap();
    assert!(!disks.inputs.exists(path));
    drop(file);
    let error = disks.inputs.open(path).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn objects_are_listed_by_folder_and_at_once() {
    let disks = disks();
    for name in ["d/b.csv", "d/a.csv", "d/x=1/c.csv", "data.csv"] {
        write(&*disks.outputs, &format!("s3://b/{name}"), name.as_bytes());
    }
    let paths = |names: &[&str]| -> Vec<PathBuf> {
        names.iter().map(|name| PathBuf::from(format!("s3://b/{name}"))).collect()
    };
    let folder = Path::new("s3://b/d");
    assert_eq!(disks.inputs.list(folder).unwrap(), paths(&["d/a.csv", "d/b.csv", "d/x=1"]));
    let below = disks.inputs.list_below(folder, 10).unwrap();
    let found: Vec<_> =
        below.iter().map(|object| (object.path.clone(), object.size_bytes)).collect();
    let names = paths(&["d/a.csv", "d/b.csv", "d/x=1/c.csv"]);
    assert_eq!(found, names.into_iter().zip([7, 7, 11]).collect::<Vec<_>>());
    // As it is listed, so it is when it is opened.
    let opened = disks.inputs.open(&below[0].path).unwrap();
    assert!(opened.version().is_some() && opened.version() == below[0].version);
    disks.outputs.remove_dir_all(folder).unwrap();
    assert!(!disks.inputs.exists(folder) && disks.inputs.exists(Path::new("s3://b/data.csv")));
}

#[test]
fn a_file_is_put_in_place_by_an_upload_and_a_folder_with_all_in_it() {
    let disks = disks();
    let folder = tempfile::tempdir().unwrap();
    let (file, bad) = (folder.path().join("part"), folder.path().join("bad"));
    write(&*disks.outputs, file.to_str().unwrap(), b"rows");
    disks.outputs.create_dir_all(&bad).unwrap();
    write(&*disks.outputs, bad.join("n.jsonl").to_str().unwrap(), b"bad");
    disks.outputs.rename(&file, Path::new("s3://b/out/part")).unwrap();
    disks.outputs.rename(&bad, Path::new("s3://b/out/_bad")).unwrap();
    assert!(!disks.outputs.exists(&file) && !disks.outputs.exists(&bad));
    assert_eq!(read(&*disks.inputs, "s3://b/out/part", 9), b"rows");
    assert_eq!(read(&*disks.inputs, "s3://b/out/_bad/n.jsonl", 9), b"bad");
}

#[test]
fn what_is_put_on_a_condition_meets_it_or_is_not_put() {
    let disks = disks();
    let path = Path::new("s3://b/m");
    let put = |text: &str, expected: &Expected| {
        disks.outputs.put(path, text.as_bytes().to_vec(), expected).map_err(|error| error.kind())
    };
    assert_eq!(put("one", &Expected::Nothing), Ok(()));
    assert_eq!(put("two", &Expected::Nothing), Err(io::ErrorKind::AlreadyExists));
    let seen = disks.inputs.open(path).unwrap().version().unwrap();
    assert_eq!(put("three", &Expected::Version(seen.clone())), Ok(()));
    assert_eq!(put("four", &Expected::Version(seen)), Err(io::ErrorKind::AlreadyExists));
    assert_eq!(read(&*disks.inputs, "s3://b/m", 9), b"three");
    assert_eq!(put("five", &Expected::Anything), Ok(()));
}

#[test]
fn an_object_that_changes_while_it_is_read_is_told() {
    let disks = disks();
    write(&*disks.outputs, "s3://b/k", &vec![1; 3 << 20]);
    let file = disks.inputs.open(Path::new("s3://b/k")).unwrap();
    write(&*disks.outputs, "s3://b/k", &vec![2; 3 << 20]);
    let error = file.read_at(&mut [0; 8], 2 << 20).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StaleNetworkFileHandle);
}

#[test]
fn outside_of_the_enabled_stores_nothing_may_be_used() {
    let StoreRules(rules) = "in=s3://b/in; out=s3://b/out,allow=read-write".parse().unwrap();
    let store: Arc<dyn object_store::ObjectStore> = Arc::new(InMemory::new());
    let objects = Objects::within(rules).with("in", Arc::clone(&store)).with("out", store);
    let disks = objects.beside(DataDisks::beneath(&[], &[]).unwrap());
    write(&*disks.outputs, "s3://b/out/k", b"x");
    assert_eq!(read(&*disks.inputs, "s3://b/out/k", 9), b"x");
    let metadata = "http://169.254.169.254/latest/meta-data";
    for url in
        ["s3://b/other/k", "s3://c/in/k", "s3://b/in/../other", metadata, "http://localhost/"]
    {
        let error = disks.inputs.open(Path::new(url)).err().unwrap();
        assert!(is_not_allowed(&error) || error.kind() == io::ErrorKind::InvalidInput, "{url}");
    }
    let error = disks.outputs.create(Path::new("s3://b/in/k")).err().unwrap();
    assert!(is_not_allowed(&error));
    assert!(disks.inputs.create(Path::new("s3://b/out/k")).is_err());
}

/// Runs a job over objects; how it ended, and what is below `s3://b/out` then.
fn run(disks: &DataDisks, nodes: &str, edges: &str) -> (Result<(), String>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let session = Session::new(SessionOptions {
        data: disks.clone(),
        base_dir: folder.path().to_owned(),
        scratch_dir: folder.path().join("scratch"),
        output_dir: folder.path().to_owned(),
        threads: 2,
        memory_bytes: 64 << 20,
    })
    .unwrap();
    let document = format!(r#"{{"dag": {{"nodes": [{nodes}], "edges": [{edges}]}}}}"#);
    let ended = match session.check(&document, true) {
        Err(problems) => Err(problems.iter().map(|problem| problem.message.clone()).collect()),
        Ok(checked) => {
            let outcome = session.run(checked, &CancelFlag::default(), &mut |_| {}).unwrap();
            outcome.error.map_or(Ok(()), |error| Err(format!("{error:?}")))
        }
    };
    let staged = RealDisk.list(folder.path()).unwrap();
    assert!(!staged.contains(&folder.path().join(".minispark")), "{staged:?}");
    let below = disks.inputs.list_below(Path::new("s3://b/out"), 99).unwrap();
    (ended, below.iter().map(|object| object.path.display().to_string()).collect())
}

/// The rows of the result in `s3://b/out`, sorted.
fn rows(disks: &DataDisks) -> Vec<String> {
    let manifest = read(&*disks.inputs, "s3://b/out/_manifest.json", 1 << 20);
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let files = manifest["files"].as_array().unwrap().iter();
    let paths = files.map(|file| format!("s3://b/out/{}", file["path"].as_str().unwrap()));
    let texts = paths.map(|path| String::from_utf8(read(&*disks.inputs, &path, 99)).unwrap());
    let mut rows: Vec<_> =
        texts.flat_map(|text| text.lines().map(String::from).collect::<Vec<_>>()).collect();
    rows.sort();
    rows
}

const COPY: &str = r#"["r", "w"]"#;

fn copy(path: &str, mode: &str) -> String {
    format!(
        r#"{{"id": "r", "op": "read_csv", "path": "{path}", "columns": {{"n": "int64"}},
            "on_bad_row": "quarantine"}},
           {{"id": "w", "op": "write_csv", "path": "s3://b/out", "header": false,
            "mode": "{mode}"}}"#
    )
}

#[test]
fn a_result_is_what_its_manifest_lists_in_every_mode() {
    let disks = disks();
    write(&*disks.outputs, "s3://b/in/1.csv", b"1\n2\n");
    write(&*disks.outputs, "s3://b/in/2.csv", b"3\n");
    write(&*disks.outputs, "s3://b/in/_no.csv", b"4\n");
    let (ended, below) = run(&disks, &copy("s3://b/in/*.csv", "error"), COPY);
    assert_eq!((ended, rows(&disks)), (Ok(()), ["1", "2", "3"].map(String::from).into()));
    let (second, same) = run(&disks, &copy("s3://b/in/1.csv", "error"), COPY);
    assert!(second.unwrap_err().contains("already exists"));
    assert_eq!(below, same);
    let (third, more) = run(&disks, &copy("s3://b/in/2.csv", "append"), COPY);
    assert_eq!((third, rows(&disks)), (Ok(()), ["1", "2", "3", "3"].map(String::from).into()));
    assert!(more.len() > below.len() && below.iter().all(|object| more.contains(object)));
    // What was there goes with its objects.
    let (fourth, left) = run(&disks, &copy("s3://b/in", "overwrite"), COPY);
    assert_eq!((fourth, rows(&disks)), (Ok(()), ["1", "2", "3"].map(String::from).into()));
    assert!(!left.iter().any(|object| more.contains(object) && !object.contains("manifest")));
    let (fifth, _) = run(&disks, &copy("s3://b/in", "overwrite_partitions"), COPY);
    assert!(fifth.unwrap_err().contains("`overwrite_partitions`"));
}

#[test]
fn bad_rows_come_with_a_result_and_a_job_that_fails_leaves_nothing() {
    let disks = disks();
    write(&*disks.outputs, "s3://b/in.csv", b"1\nx\n");
    let (ended, below) = run(&disks, &copy("s3://b/in.csv", "error"), COPY);
    assert_eq!((ended, rows(&disks)), (Ok(()), vec![String::from("1")]));
    let bad = below.iter().filter(|object| object.contains("/_bad/"));
    let bad: Vec<_> = bad.map(|path| String::from_utf8(read(&*disks.inputs, path, 999))).collect();
    assert!(bad.len() == 1 && bad[0].as_ref().unwrap().contains(r#""raw":"x""#), "{bad:?}");

    disks.outputs.remove_dir_all(Path::new("s3://b/out")).unwrap();
    let failing = copy("s3://b/in.csv", "error").replace("quarantine", "fail");
    let (failed, left) = run(&disks, &failing, COPY);
    assert!(failed.is_err() && left.is_empty(), "{failed:?} {left:?}");
}
