//! A plain Arrow Flight client: any finished result, at one address, as typed rows.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "a test makes the files that the program reads")]
#![expect(clippy::shadow_unrelated, reason = "one answer is looked at after another")]

use std::{fmt::Write, fs};

use arrow::{
    array::{Array, Int64Array, RecordBatch, StringArray},
    datatypes::DataType,
};
use arrow_flight::{
    Criteria, FlightClient, FlightDescriptor, FlightInfo, Ticket, error::FlightError,
    flight_service_client::FlightServiceClient,
};
use futures::TryStreamExt;
use serde_json::json;
use tonic::{Code, Request, transport::Channel};

#[expect(clippy::allow_attributes, reason = "an expectation fails where a target uses all")]
#[allow(dead_code, reason = "each target uses a part of it")]
mod support;

use support::{
    cluster::{Cluster, Settings},
    root,
};

async fn channel(cluster: &Cluster) -> Channel {
    Channel::from_shared(format!("http://{}", cluster.flight)).unwrap().connect().await.unwrap()
}

async fn client(cluster: &Cluster) -> FlightClient {
    FlightClient::new(channel(cluster).await)
}

fn path(job: &str, sink: &str) -> FlightDescriptor {
    FlightDescriptor::new_path(vec![job.to_owned(), sink.to_owned()])
}

async fn rows(client: &mut FlightClient, info: &FlightInfo) -> Vec<RecordBatch> {
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    client.do_get(ticket).await.unwrap().try_collect().await.unwrap()
}

fn status<T>(result: Result<T, FlightError>) -> tonic::Status {
    match result {
        Err(FlightError::Tonic(status)) => *status,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was answered"),
    }
}

fn counted(cluster: &Cluster) -> String {
    let id = cluster.submit(&fs::read_to_string(root().join("jobs/wordcount.json")).unwrap());
    cluster.completed(&id);
    id
}

#[tokio::test]
async fn a_result_is_described_and_streamed_in_its_order() {
    let cluster = Cluster::start(Settings::default());
    let id = counted(&cluster);
    let mut client = client(&cluster).await;

    let info = client.get_flight_info(path(&id, "agg")).await.unwrap();
    assert_eq!(info.total_records, 22);
    assert!(info.ordered);
    assert_eq!(info.endpoint.len(), 1);
    assert!(info.endpoint[0].location.is_empty(), "this connection serves it");
    let schema = info.clone().try_decode_schema().unwrap();
    let columns: Vec<(&str, &DataType)> =
        schema.fields().iter().map(|field| (field.name().as_str(), field.data_type())).collect();
    assert_eq!(columns, [("token", &DataType::Utf8), ("value", &DataType::Int64)]);

    let mut text = String::new();
    for batch in rows(&mut client, &info).await {
        let tokens = batch.column(0).as_any().downcast_ref::<StringArray>().unwrap();
        let values = batch.column(1).as_any().downcast_ref::<Int64Array>().unwrap();
        for row in 0..batch.num_rows() {
            writeln!(text, "{}, {}", tokens.value(row), values.value(row)).unwrap();
        }
    }
    assert_eq!(text, fs::read_to_string(root().join("data/expected/books.txt")).unwrap());
}

#[tokio::test]
async fn written_files_are_streamed_too() {
    let cluster = Cluster::start(Settings { workers: 1, ..Settings::default() });
    let target = cluster.folder.path().join("written");
    let document = json!({ "name": "x", "dag": {
        "nodes": [
            { "id": "read", "op": "read_csv", "path": "data/users.csv",
              "columns": { "id": "int64", "name": "string" } },
            { "id": "out", "op": "write_csv", "path": target, "header": true },
        ],
        "edges": [["read", "out"]],
    } });
    let id = cluster.submit(&document.to_string());
    cluster.completed(&id);
    let mut client = client(&cluster).await;
    let info = client.get_flight_info(path(&id, "out")).await.unwrap();
    let batches = rows(&mut client, &info).await;
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 4);
    let names = batches[0].column(1).as_any().downcast_ref::<StringArray>().unwrap();
    assert_eq!((names.value(0), names.null_count()), ("Carlos", 0));
}

#[tokio::test]
async fn finished_results_are_listed() {
    let cluster = Cluster::start(Settings::default());
    let ids = [counted(&cluster), counted(&cluster)];
    let mut client = FlightServiceClient::new(channel(&cluster).await);
    let listed = client.list_flights(Request::new(Criteria::default())).await.unwrap();
    let listed: Vec<FlightInfo> = listed.into_inner().try_collect().await.unwrap();
    let paths: Vec<Vec<String>> =
        listed.into_iter().map(|info| info.flight_descriptor.unwrap().path).collect();
    assert_eq!(paths.len(), 2);
    for id in ids {
        assert!(paths.contains(&vec![id, "agg".to_owned()]), "{paths:?}");
    }
}

#[tokio::test]
async fn what_is_unknown_or_not_there_yet_is_refused_by_name() {
    let cluster = Cluster::start(Settings { workers: 0, ..Settings::default() });
    let mut client = client(&cluster).await;
    let unknown = "00000000-0000-4000-8000-000000000000";
    let refused = status(client.get_flight_info(path(unknown, "agg")).await);
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
    assert!(refused.message().contains(unknown), "{refused}");

    let document = fs::read_to_string(root().join("jobs/wordcount.json")).unwrap();
    let id = cluster.submit(&document);
    let refused = status(client.get_flight_info(path(&id, "agg")).await);
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert_eq!(refused.metadata().get("minispark-code").unwrap(), "NOT_FINISHED");
}

#[tokio::test]
async fn a_forged_ticket_is_refused() {
    let cluster = Cluster::start(Settings::default());
    let id = counted(&cluster);
    let mut client = client(&cluster).await;
    let info = client.get_flight_info(path(&id, "agg")).await.unwrap();
    let good = info.endpoint[0].ticket.clone().unwrap().ticket.to_vec();

    let mut forged = vec![b"agg".to_vec(), Vec::new(), good[..good.len() - 1].to_vec()];
    // A flipped bit anywhere: version, job, sink, expiry, signature.
    for at in (0..good.len()).step_by(7) {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        forged.push(flipped);
    }
    for bytes in forged {
        let refused = status(client.do_get(Ticket { ticket: bytes.into() }).await.map(drop));
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
        assert!(!refused.message().contains("panicked"), "{refused}");
    }
    // Neither does a ticket outlive the key that signed it: another master has another.
    let other = Cluster::start(Settings { workers: 0, ..Settings::default() });
    let mut stranger = FlightClient::new(channel(&other).await);
    let refused = status(stranger.do_get(Ticket { ticket: good.into() }).await.map(drop));
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
}

#[tokio::test]
async fn a_worker_gives_a_plain_client_nothing() {
    let mut cluster = Cluster::start(Settings { workers: 1, ..Settings::default() });
    let id = counted(&cluster);
    let mut client = client(&cluster).await;
    let info = client.get_flight_info(path(&id, "agg")).await.unwrap();
    let address = cluster.workers[0].logged("flight");
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    let mut worker = FlightClient::new(channel.connect().await.unwrap());
    assert!(worker.get_flight_info(path(&id, "agg")).await.is_err());
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    assert!(worker.do_get(ticket).await.is_err(), "a worker holds no results");
}
