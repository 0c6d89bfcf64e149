//! Objects in a store of this process.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use minispark_engine::disk::{DataDisks, Disk, Expected, rooted::is_not_allowed};
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
