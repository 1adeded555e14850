<?php

// Runs the example of docs/webhooks.md, which is in pasted.php. It reads {headers, body, secret} as
// JSON, and writes {genuine} or {refusal}.

require "pasted.php";

$given = json_decode(file_get_contents("php://stdin"), true);
try {
    verify($given["secret"], $given["body"], $given["headers"]);
    echo json_encode(["genuine" => true]);
} catch (Exception $refusal) {
    echo json_encode(["refusal" => $refusal->getMessage()]);
}
