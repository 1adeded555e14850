//! A server that answers the query for a project from memory: the limit of HTTP and JSON.

use axum::{Json, Router, routing::post};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// The parts of a request that are read.
#[derive(Deserialize)]
struct Request {
    variables: Variables,
}

#[derive(Deserialize)]
struct Variables {
    id: String,
}

#[derive(Serialize)]
struct Answer {
    data: Data,
}

#[derive(Serialize)]
struct Data {
    project: Project,
}

#[derive(Serialize)]
struct Project {
    id: String,
    name: &'static str,
    description: &'static str,
}

/// Serves on a free port, whose URL it passes to `ready`, until `stop`.
///
/// # Errors
/// If no port can be opened.
pub(crate) async fn serve(
    ready: impl FnOnce(&str) -> anyhow::Result<()>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    ready(&format!("http://{}/graphql", listener.local_addr()?))?;
    let router = Router::new().route("/graphql", post(answer));
    // Clients keep their connections open, so a graceful end would wait for them.
    tokio::select! {
        served = async { axum::serve(listener, router).await } => Ok(served?),
        () = stop => Ok(()),
    }
}

async fn answer(Json(request): Json<Request>) -> Json<Answer> {
    let project = Project {
        id: request.variables.id,
        name: "Project 00001",
        description: "made by the benchmark",
    };
    Json(Answer {
        data: Data { project },
    })
}
