"The servers that bench/serving.py measures beside ours; they run in an environment of their own, and nothing here is imported by the product."

import os

FOLDER = os.environ.get("BENCH_FOLDER", "")  # where the fitted pipeline is


async def floor(scope, receive, send):
    "What no server in Python can be faster than: reads the body, parses it, answers a constant."
    import orjson

    if scope["type"] != "http":
        return
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    orjson.loads(b"".join(parts))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b'{"predictions":[1]}'})


def _pipeline():
    import joblib

    return joblib.load(f"{FOLDER}/pipeline.joblib")


def source():
    "A list of dicts becomes a frame, absent columns are filled with 0, the pipeline predicts a class."
    import pandas as pd
    from fastapi import FastAPI, HTTPException

    model, app = _pipeline(), FastAPI()
    columns = list(model.feature_names_in_)

    @app.post("/predict")
    def predict(payload: dict):
        try:
            frame = pd.DataFrame(payload["data"])
            for column in columns:
                if column not in frame:
                    frame[column] = 0
            return {"predictions": model.predict(frame[columns]).tolist()}
        except Exception as error:
            raise HTTPException(400, str(error)) from error

    return app


def idiomatic():
    "As FastAPI's own documentation would have it: a model of a row, a frame, predict_proba."
    import pandas as pd
    from fastapi import FastAPI
    from pydantic import BaseModel, create_model

    model, app = _pipeline(), FastAPI()
    numeric = set(model[0].transformers_[0][2])
    row = create_model("Row", **{c: (float | None if c in numeric else str | int | None, None) for c in model.feature_names_in_})

    class Request(BaseModel):
        data: list[row]

    class Answer(BaseModel):
        predictions: list[int]
        pd: list[float]

    @app.post("/predict")
    def predict(request: Request) -> Answer:
        frame = pd.DataFrame([r.model_dump() for r in request.data], columns=list(model.feature_names_in_))
        for column in frame:
            frame[column] = frame[column].astype(float if column in numeric else object)
        good = model.predict_proba(frame)[:, 1]
        return Answer(predictions=[int(p >= 0.5) for p in good], pd=(1 - good).tolist())

    return app
