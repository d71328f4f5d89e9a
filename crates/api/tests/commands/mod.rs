//! The service `Commands`.

use futures::TryStreamExt as _;
use proto::v1::{send_response, serve_request, serve_response};
use tokio::sync::oneshot;

use super::*;

fn order(machine: &str, name: &str, arguments: &str) -> pb::SendRequest {
    pb::SendRequest {
        machine: machine.to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
        ..Default::default()
    }
}

/// The steps of an answer, or the status that it ended with.
async fn send(
    node: &Running,
    request: pb::SendRequest,
) -> Result<Vec<send_response::Step>, tonic::Status> {
    let answer = node.commands().send(request).await?.into_inner();
    let steps: Vec<pb::SendResponse> = answer.try_collect().await?;
    Ok(steps.into_iter().filter_map(|step| step.step).collect())
}

#[tokio::test]
async fn a_command_is_named_and_then_answered_by_values() {
    let node = Running::start().await;

    let steps = send(&node, order("machine-1", "echo", r#"{"celsius": 5.5}"#)).await;

    let id = send_response::Step::Id("070W3GE1R70W3GE1R70W3GE1R7".to_owned());
    let value = send_response::Step::Value(r#"{"celsius":5.5}"#.to_owned());
    assert_eq!(steps.expect("answered"), [id, value]);
}

#[tokio::test]
async fn the_status_of_a_command_is_the_status_of_the_call() {
    let node = Running::start().await;

    let status = send(&node, order("machine-1", "too/hot", "")).await;

    let status = status.expect_err("refused");
    assert_eq!(
        (status.code(), status.message()),
        (Code::OutOfRange, "too/hot")
    );
}

#[tokio::test]
async fn what_is_wrong_with_a_command_is_told_before_it_is_sent() {
    let node = Running::start().await;
    let code = async |request| send(&node, request).await.expect_err("refused").code();

    assert_eq!(code(order("nobody", "echo", "")).await, Code::NotFound);
    assert_eq!(
        code(order("machine-1", "a b", "")).await,
        Code::InvalidArgument
    );
    assert_eq!(
        code(order("machine-1", "echo", "{")).await,
        Code::InvalidArgument
    );
    let bad_id = pb::SendRequest {
        id: "1".to_owned(),
        ..order("machine-1", "echo", "")
    };
    assert_eq!(code(bad_id).await, Code::InvalidArgument);
    let long = pb::SendRequest {
        lineage: vec![1; 13],
        ..order("machine-1", "echo", "")
    };
    assert_eq!(code(long).await, Code::FailedPrecondition);
}

fn step(step: serve_request::Step) -> pb::ServeRequest {
    pb::ServeRequest { step: Some(step) }
}

fn register(names: &[&str]) -> pb::ServeRequest {
    let offers = names.iter().map(|name| serve_request::register::Offer {
        name: (*name).to_owned(),
        safe: false,
    });
    step(serve_request::Step::Register(serve_request::Register {
        offers: offers.collect(),
        concurrent: 0,
    }))
}

#[tokio::test]
async fn a_program_registers_is_given_commands_and_answers_them() {
    let node = Running::start().await;
    let value = step(serve_request::Step::Value(serve_request::Value {
        run: 3,
        value: "6".to_owned(),
    }));
    let end = step(serve_request::Step::End(serve_request::End {
        run: 3,
        code: 0,
        message: String::new(),
    }));
    let requests = stream::iter([register(&["heating/set"]), value, end]);
    let (program, is_gone) = oneshot::channel::<()>();
    let stays = stream::once(is_gone).filter_map(async |_| None);

    let answer = node.commands().serve(requests.chain(Box::pin(stays))).await;
    let mut answer = answer.expect("taken").into_inner();
    let registered = answer
        .message()
        .await
        .expect("a step")
        .expect("a step")
        .step;
    let run = answer
        .message()
        .await
        .expect("a step")
        .expect("a step")
        .step;
    let served = || node.memory.served.lock().expect("unpoisoned").clone();
    while served().len() < 2 {
        tokio::task::yield_now().await;
    }
    drop(program);
    while served().len() < 3 {
        tokio::task::yield_now().await;
    }

    assert!(matches!(
        registered,
        Some(serve_response::Step::Registered(_))
    ));
    let Some(serve_response::Step::Run(run)) = run else {
        panic!("no run: {run:?}");
    };
    assert_eq!(
        (run.run, &*run.name, &*run.arguments),
        (3, "heating/set", "5")
    );
    assert_eq!(run.caller, "phone");
    let said = served();
    assert!(said[0].starts_with("Value(RunId(3), I64(6))"), "{said:?}");
    assert!(said[1].starts_with("Ended(RunId(3)"), "{said:?}");
    assert_eq!(said[2], "gone HandlerId(4)");
}

#[tokio::test]
async fn a_program_that_does_not_register_or_offers_nonsense_is_refused() {
    let node = Running::start().await;
    let code = async |request| {
        let answer = node.commands().serve(stream::iter([request])).await;
        answer.expect_err("refused").code()
    };

    assert_eq!(
        code(pb::ServeRequest::default()).await,
        Code::InvalidArgument
    );
    assert_eq!(code(register(&[])).await, Code::InvalidArgument);
    assert_eq!(code(register(&["a b"])).await, Code::InvalidArgument);
    assert_eq!(code(register(&["x"; 300])).await, Code::InvalidArgument);
}
