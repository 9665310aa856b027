"""The same model as a Flask application, which is what the public scikit-learn container serves."""

import flask

app = flask.Flask(__name__)


@app.get("/ping")
def ping():
    return ""


@app.post("/invocations")
def invocations():
    return flask.Response(flask.json.dumps(flask.json.loads(flask.request.get_data())), mimetype="application/json")
