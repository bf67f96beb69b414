"""Drives a server with emnify's own SDK for Python: client.py KEYPROOF STORE.

The server's address is in EMNIFY_SDK_API_ENDPOINT_URL, which the SDK reads when it is imported. Users are created
by the program KEYPROOF on the STORE that the server uses, codes by oathtool. The server's clock is stopped: a line
"advance SECONDS" on standard output moves it, and a line on standard input then contains its time. Anything unexpected
raises an exception.
"""

import ast
import hashlib
import subprocess
import sys
from urllib.parse import parse_qsl, unquote, urlsplit

from emnify import EMnify
from emnify.api_manager import Authenticate, BaseApiManager
from emnify.errors import UnauthorisedException, UnknownStatusCodeException, ValidationErrorException
from emnify.modules.api import models

KEYPROOF, STORE = sys.argv[1:]

ORGANISATION = "Example Org"
ADA, BOB, EVE = "ada@example.org", "bob@example.org", "eve@example.org"
PASSWORD = "correct horse battery staple"
MFA = "/v1/user/mfa"

sent = []  # every request of the SDK since the last call of `wire`: method, path, status
answers = [None]  # the last answer
logins = keys = devices = 0


def record(make_request):
    def recorded(self, client, method_url, *arguments, **named):
        answers[0] = make_request(self, client, method_url, *arguments, **named)
        sent.append((self.request_method_name, method_url, answers[0].status_code))
        return answers[0]

    return recorded


BaseApiManager.make_request = record(BaseApiManager.make_request)


def wire():
    requests = sent[:]
    sent.clear()
    return requests


class Call(BaseApiManager):
    """Makes a call that the SDK has no method for. The SDK handles answers, refusals and repeated logins."""

    def __init__(self, method, path):
        self.request_method_name, self.request_url_prefix = method, path


class Pages(Call):
    """A call whose answer comes in pages."""

    response_handlers = {**BaseApiManager.response_handlers, 200: "return_paginator"}


def call(client, method, path, data=None, **path_params):
    return Call(method, path).call_api(client, data, path_params=path_params)


def advance(seconds):
    print("advance", seconds, flush=True)
    return int(input())


def keyproof(*arguments, password=None):
    command = [KEYPROOF, "user", *arguments, "--store", STORE]
    stdin = {"input": password} if password else {"stdin": subprocess.DEVNULL}
    subprocess.run(command, check=True, text=True, env={}, **stdin)


def sha1(password):
    return hashlib.sha1(password.encode()).hexdigest()


def authenticate(**credentials):
    """Logs in as the SDK does, including `Authorization: Bearer None`."""
    global logins
    answer = Authenticate().call_api(EMnify("nothing"), credentials)
    assert models.AuthenticationResponse(**answer).dict(exclude_none=True) == answer or [*answer] == ["mfa_token"]
    logins += "refresh_token" in answer
    return answer


def log_in(name, password=PASSWORD, **more):
    return authenticate(username=name, password=sha1(password), **more)


def person(tokens):
    """Returns a client for a logged-in person; the SDK itself supports only applications."""
    client = EMnify("a person has no application token")
    client.token = tokens["auth_token"]
    return client


def unauthorised(doing, **named):
    """Asserts that the credentials are wrong. The SDK ignores the body, which is empty."""
    try:
        doing(**named)
    except UnauthorisedException:
        assert (answers[0].status_code, answers[0].content) == (401, b""), answers[0].content
    else:
        raise AssertionError(f"{named} were taken")


def locked_out(**credentials):
    try:
        authenticate(**credentials)
    except UnauthorisedException:
        body = answers[0].json()
        assert (body["error_code"], body["error_token"]) == (1105, "TooManyRequests"), body
    else:
        raise AssertionError("not locked")


def refused(status, code, message, doing, *arguments, **named):
    """Asserts a refusal. The SDK's exception contains the body; there was one request, which was not repeated."""
    wire()
    try:
        doing(*arguments, **named)
    except ValidationErrorException as error:
        body = ast.literal_eval(str(error))
    else:
        raise AssertionError(f"{arguments} was not refused")
    assert [request[2] for request in wire()] == [status], answers[0]
    assert answers[0].headers["Content-Type"] == "application/json; charset=UTF-8"
    refusal = models.ChangePassword422response(**body)
    assert refusal.dict(exclude_none=True) == body
    assert (refusal.error_code, refusal.message) == (code, message), body
    return refusal


def unknown_status(status, doing, *arguments, **named):
    """Asserts a status for which the SDK has no exception of its own."""
    wire()
    try:
        doing(*arguments, **named)
    except UnknownStatusCodeException as error:
        assert str(error) == f"Unknown status code {status}"
    else:
        raise AssertionError(f"{arguments} was not refused")
    assert len(wire()) == 1


def fits(model, answer):
    """Asserts that the SDK's model has every member of the answer, with its type."""
    parsed = model(**answer)
    assert parsed.dict(exclude_none=True) == answer, answer
    return parsed


class Phone:
    """An authenticator app: it has the contents of the QR code, and shows the codes of oathtool."""

    def __init__(self, client, name, password=PASSWORD):
        answer = call(client, "post", MFA, {"type": {"id": 0}, "password": sha1(password)})
        key = fits(models.CreateMFAKeyresponse, answer)
        assert key.status == {"id": 0, "description": "Activation Pending"}
        assert key.type == {"id": 0, "description": "Time-Based One-Time Password"}
        self.key, self.client = models.CreateMFAResponse(**answer), client
        uri = urlsplit(key.otpauth)
        assert (uri.scheme, uri.netloc, unquote(uri.path)) == ("otpauth", "totp", f"/{ORGANISATION}:{name}")
        # In this order, and without an algorithm.
        (_, self.secret), *more = parse_qsl(uri.query)
        assert self.secret == key.secret_key and len(self.secret) == 32
        assert more == [("issuer", ORGANISATION), ("digits", "6"), ("period", "30")], more

    def shows(self, at):
        oathtool = ["oathtool", "--totp", "--base32", "--digits=6", "--time-step-size=30s", f"--now=@{at}", self.secret]
        return subprocess.run(oathtool, check=True, capture_output=True, text=True).stdout.strip()

    def never_shows(self, at):
        near = {self.shows(at + 30 * step) for step in range(-4, 5)}
        return next(code for code in map("{:06}".format, range(10)) if code not in near)

    def activate(self, code):
        """Activates as the contract's text describes it. The SDK's model sends the code as a string."""
        global keys
        body = models.ActivateMFAKeyrequest(status={"id": 1}, code=code).dict()
        assert call(self.client, "patch", MFA + "/{key_id}", body, key_id=int(self.key.id)) is True
        keys += 1

    def activate_as_generated(self, code):
        """Activates as the schema describes it: numbers are floats and the code is in `status`, without leading zeros."""
        global keys
        body = models.ActivateMFAKeyRequest(status={"id": 1, "code": code}).dict()
        assert body == {"status": {"id": 1.0, "code": float(code)}} and isinstance(self.key.id, float)
        assert call(self.client, "patch", MFA + "/{key_id}", body, key_id=self.key.id) is True
        assert sent[-1][1].endswith(".0"), sent
        keys += 1

    def remove(self, client=None, user="my"):
        path = "/v1/user/{user_id}/mfa/{key_id}"
        assert call(client or self.client, "delete", path, user_id=user, key_id=self.key.id) is True


def passwords():
    for spelling in [PASSWORD, sha1(PASSWORD), sha1(PASSWORD).upper()]:
        tokens = authenticate(username=ADA, password=spelling)
        assert [*tokens] == ["auth_token", "refresh_token"]
    # The refresh token is not spent, and the answer contains none.
    for _ in range(2):
        fresh = authenticate(refresh_token=tokens["refresh_token"])
        assert [*fresh] == ["auth_token"]
    assert call(person(fresh), "get", "/v1/user/{name}", name=ADA)["username"] == ADA
    unauthorised(authenticate, refresh_token=fresh["auth_token"])
    message = "Exactly one kind of credentials is needed"
    refused(400, 1000, message, authenticate)
    refused(400, 1000, message, authenticate, username=ADA, password=PASSWORD, application_token="x")

    for name in [ADA, "nobody@example.org"]:
        for _ in range(2):
            unauthorised(log_in, name=name, password="wrong horse")
        locked_out(username=name, password="wrong horse")
        locked_out(username=name, password=PASSWORD)
    keyproof("unlock", ADA)
    log_in(ADA)
    unauthorised(log_in, name=ADA, password="wrong horse")
    return tokens


def directory(client):
    everybody = list(Pages("get", "/v1/user").call_api(client, query_params={"per_page": 1, "sort": "username"}))
    assert [request[2] for request in wire()[-3:]] == [200, 200, 200]
    users = [fits(models.RetrievetheUserresponse, user) for user in everybody]
    assert [user.username for user in users] == [ADA, BOB, EVE]
    assert [user.roles[0]["name"] for user in users] == ["User", "Administrator", "Observer"]
    for user in everybody:
        for spelling in [user["id"], float(user["id"]), user["username"]]:
            assert call(client, "get", "/v1/user/{user_id}", user_id=spelling) == user
    for path, model in [
        ("/v1/user/status", models.RetrieveAvailableUserStatusesresponse),
        (MFA + "/status", models.MFAKeyStatusLookupresponse),
        (MFA + "/type", models.MFAKeyTypeLookupresponse),
    ]:
        assert [fits(model, item) for item in call(client, "get", path)]
    assert [role["id"] for role in call(client, "get", "/v1/user/role")] == [1, 2, 3]

    refused(404, 1401, "User with id '16777216' not found", call, client, "get", "/v1/user/16777216")
    unparsable = 'Cannot parse parameter id as Long: For input string: "None"'
    refused(400, 1000, unparsable, call, client, "delete", "/v1/user/my/mfa/{key_id}", key_id=None)
    # The SDK's other operations do not exist here, which one answer says.
    for doing in [
        lambda: list(client.devices.get_devices_list()),
        lambda: list(client.sim.get_sim_list()),
        lambda: list(client.operator.get_operators()),
        lambda: client.devices.retrieve_device(device_id=1),
    ]:
        refused(404, 1201, "There is nothing at this path.", doing)
    return {user.username: user.id for user in users}


def second_step(phone, now, **more):
    """Does both steps of a login."""
    challenge = log_in(ADA)
    assert [*challenge] == ["mfa_token"]
    return authenticate(**challenge, code=phone.shows(now), **more)


def second_factor(tokens):
    ada, now = person(tokens), advance(300)
    wrong = {"type": {"id": 0}, "password": sha1("wrong horse")}
    failure = refused(422, 1400, "MFA key validation error", call, ada, "post", MFA, wrong)
    assert failure.errors[0]["message"] == f"Wrong Password for User '{ADA}'"
    refused(422, 1402, "MFA key - type is required", call, ada, "post", MFA, {"password": PASSWORD})
    refused(422, 1402, "MFA key - password is required", call, ada, "post", MFA, {"type": {"id": 0}})

    # A pending key is replaced; this looks for a key with a code that starts with a zero.
    replaced, phone = Phone(ada, ADA), Phone(ada, ADA)
    gone = f"MFA Key with Id '{int(replaced.key.id)}' not found."
    refused(404, 1401, gone, replaced.activate, "000000")
    while not phone.shows(now).startswith("0"):
        now = advance(30)
    mismatch = "MFA key validation error: Code did not match!"
    refused(422, 1400, mismatch, phone.activate_as_generated, phone.never_shows(now))
    phone.activate_as_generated(phone.shows(now))
    refused(409, 1405, "MFA already activated", phone.activate, phone.shows(now))
    refused(409, 1405, "MFA already activated", Phone, ada, ADA)
    (key,) = call(ada, "get", "/v1/user/{name}", name=ADA)["mfa"]
    assert (key["id"], key["status"]) == (phone.key.id, {"id": 1, "name": "Active"}), key
    unauthorised(authenticate, refresh_token=tokens["refresh_token"])
    # The code that activated the key is spent.
    unauthorised(second_step, phone=phone, now=now)

    phone.remove()
    message = f"MFA Key with id '{int(phone.key.id)}' not found"
    refused(404, 1401, message, phone.remove)
    log_in(ADA)
    phone = Phone(ada, ADA)
    refused(422, 1400, mismatch, phone.activate, phone.never_shows(now))
    phone.activate(phone.shows(now - 30))

    challenge, another = log_in(ADA), log_in(ADA)
    assert [*challenge] == [*another] == ["mfa_token"]
    unauthorised(authenticate, **challenge, code=phone.never_shows(now))
    tokens = authenticate(**challenge, code=phone.shows(now))
    assert [*tokens] == ["auth_token", "refresh_token"]
    assert [*authenticate(refresh_token=tokens["refresh_token"])] == ["auth_token"]
    for spent in [challenge, another]:
        unauthorised(authenticate, **spent, code=phone.shows(now))
    now = advance(30)
    authenticate(**another, code=int(phone.shows(now)))

    # Three failures lock, however many challenges they are spread over.
    wrong = [{**log_in(ADA), "code": phone.never_shows(now)} for _ in range(3)]
    unauthorised(authenticate, **wrong[0])
    unauthorised(authenticate, **wrong[1])
    locked_out(**wrong[2])
    locked_out(username=ADA, password=PASSWORD)
    return phone, advance(300)


def trusted_devices(phone, now, numbers):
    global devices
    ada = phone.client
    whole = {"operating_system": "Ubuntu 16.04.2 LTS (Xenial)", "browser": "Mozilla Firefox"}
    second_step(phone, now, fingerprint="flat")
    now = advance(30)
    second_step(phone, now, trusted_device={"fingerprint": "whole", **whole})
    devices += 2
    for more in [{"fingerprint": "flat"}, {"trusted_device": {"fingerprint": "whole", **whole}}]:
        assert [*log_in(ADA, **more)] == ["auth_token", "refresh_token"]
    assert [*log_in(ADA, fingerprint="another")] == ["mfa_token"]

    ways = [MFA, "/v1/user/my/mfa", f"/v1/user/{numbers[ADA]}/mfa"]
    listed = [call(ada, "get", f"{way}/trusted_device") for way in ways]
    assert listed[0] == listed[1] == listed[2]
    flat, full = (fits(models.Listoftrusteddevicesresponse, device) for device in listed[0])
    assert (full.operating_system, full.browser) == (whole["operating_system"], whole["browser"])
    assert (flat.operating_system, flat.browser) == (None, None)
    one = "/trusted_device/{id}"
    assert call(ada, "delete", ways[0] + one, id=float(flat.id)) is True
    assert call(ada, "delete", ways[1] + one, id=full.id) is True
    unknown = f"Trusted Device with Id '{full.id}' not found"
    refused(404, 1401, unknown, call, ada, "delete", ways[2] + one, id=full.id)
    assert call(ada, "get", f"{MFA}/trusted_device") == []
    assert [*log_in(ADA, fingerprint="flat")] == ["mfa_token"]


def administration(phone, numbers):
    ada, bob = phone.client, person(log_in(BOB))
    for method, path in [
        ("get", f"/v1/user/{numbers[BOB]}/mfa/trusted_device"),
        ("delete", f"/v1/user/{numbers[BOB]}/mfa/trusted_device/1"),
        ("delete", f"/v1/user/{numbers[BOB]}/mfa/1"),
    ]:
        unknown_status(403, call, ada, method, path)
        body = answers[0].json()
        assert (body["error_code"], body["error_token"]) == (1104, "Forbidden"), body
    assert call(bob, "get", f"/v1/user/{numbers[ADA]}/mfa/trusted_device") == []
    message = "User with Id '16777216' not found."
    refused(404, 1401, message, call, bob, "get", "/v1/user/16777216/mfa/trusted_device")
    phone.remove(bob, float(numbers[ADA]))
    assert [*log_in(ADA)] == ["auth_token", "refresh_token"]


def recovery(now):
    ada = person(log_in(ADA))
    phone = Phone(ada, ADA)
    phone.activate(phone.shows(now))
    codes = call(ada, "post", "/v1/user/my/mfa/recovery_codes", {"password": PASSWORD})["codes"]
    assert len({*codes}) == 10
    authenticate(**log_in(ADA), code=codes[0])
    unauthorised(authenticate, **log_in(ADA), code=codes[0])
    authenticate(**log_in(ADA), code=codes[9].lower())
    phone.remove()


def password_change():
    tokens = log_in(ADA)
    ada, new = person(tokens), "a better horse"

    def change(old):
        request = models.ChangePasswordrequest(old_password=sha1(old), new_password=new)
        return call(ada, "patch", "/v1/user/password", request.dict())

    failure = refused(422, 1002, "Invalid old password", change, "wrong horse")
    assert failure.errors == [{
        "error_code": 1400,
        "error_token": "InputValidationFailed",
        "message": f"Wrong Password for User '{ADA}'",
    }]
    assert change(PASSWORD) is True
    unauthorised(authenticate, refresh_token=tokens["refresh_token"])
    # The session is over: the SDK tries to log its application in.
    wire()
    unauthorised(call, client=ada, method="get", path="/v1/user")
    assert wire() == [("get", "/v1/user", 401), ("post", "/v1/authenticate", 401)]
    unauthorised(log_in, name=ADA)
    log_in(ADA, password=new)
    keyproof("suspend", ADA)
    unauthorised(log_in, name=ADA, password=new)
    keyproof("activate", ADA)
    keyproof("set-password", ADA, "--stdin", password=PASSWORD)
    log_in(ADA)


def application_tokens():
    bob = person(log_in(BOB))
    path, one = "/v1/application_token", "/v1/application_token/{id}"
    unlimited = call(bob, "post", path, models.CreateApplicationTokenrequest().dict())["application_token"]
    advance(1)
    request = models.CreateApplicationTokenrequest(description="for a day", expiry_date="2100-01-01", ip="127.0.0.0/8")
    limited = call(bob, "post", path, request.dict())["application_token"]
    advance(1)
    elsewhere = call(bob, "post", path, {"ip": "10.88.0.139/32"})["application_token"]
    past = call(bob, "post", path, {"expiry_date": "2020-02-02T23:00:00.000Z"})["application_token"]
    message = "Application Token - IP has invalid format: Expecting IP Address in CIDR Notation."
    refused(422, 1403, message, call, bob, "post", path, {"ip": "127.0.0.1"})
    listed = [fits(models.ListofApplicationTokensresponse, token) for token in call(bob, "get", path)]
    assert [token.status["description"] for token in listed] == ["Activated"] * 4
    assert (listed[0].description, listed[0].expiry_date, listed[0].ip) == (None, None, None)
    assert (listed[1].description, listed[1].ip) == ("for a day", "127.0.0.0/8")
    assert listed[1].expiry_date == "2100-01-01T00:00:00.000Z"
    assert {token.creator["username"] for token in listed} == {BOB}

    # The SDK's usual flow: it requests without a token, gets a 401, logs in and repeats the request.
    login = ("post", "/v1/authenticate", 200)
    asked = [("get", "/v1/user", 401), login, ("get", "/v1/user", 200)]
    applications = [EMnify(unlimited), EMnify(limited)]
    for application in applications:
        wire()
        assert len(call(application, "get", "/v1/user")) == 3
        assert wire() == asked
        call(application, "get", "/v1/user")
        assert wire() == asked[2:]
        # An application may not make a person's calls. The status is not 401, because the SDK would then log in and
        # retry for ever.
        for method, mfa in [("post", MFA), ("patch", MFA + "/1"), ("get", MFA + "/trusted_device")]:
            unknown_status(403, call, application, method, mfa)
    # Its access token is valid for 240 minutes. The SDK treats a text that is not a token in the same way.
    before = applications[0].token
    advance(240 * 60)
    assert len(call(applications[0], "get", "/v1/user")) == 3
    assert wire() == asked and applications[0].token != before
    applications[0].token = "no token at all"
    call(applications[0], "get", "/v1/user")
    assert wire() == asked
    # Nothing is lost from a call that has to be repeated.
    applications[0].token = None
    (found,) = Pages("get", "/v1/user").call_api(applications[0], query_params={"q": f"username:{EVE}"})
    assert found["username"] == EVE
    for token in [elsewhere, past, "5cCI6IkpXVCJ9.."]:
        unauthorised(call, client=EMnify(token), method="get", path="/v1/user")

    bob = person(log_in(BOB))
    change = models.ApplicationToken(description="revoked", status={"id": 1}).dict()
    assert call(bob, "patch", one, change, id=float(listed[1].id)) is True
    wire()
    unauthorised(call, client=applications[1], method="get", path="/v1/user")
    assert wire() == [("get", "/v1/user", 401), ("post", "/v1/authenticate", 401)]
    assert call(bob, "get", path)[1]["status"] == {"id": 1, "description": "Revoked"}
    unknown = "Application Token with Id '16777216' not found."
    refused(404, 1401, unknown, call, bob, "patch", one, change, id=16777216)
    # Observers may only read.
    unknown_status(403, call, person(log_in(EVE)), "post", path, {})
    keyproof("remove", BOB)
    unauthorised(call, client=applications[0], method="get", path="/v1/user")


def address_limit():
    """Allows a hundred POST requests in five minutes; the SDK does not retry the next one."""
    advance(300)
    for _ in range(100):
        unauthorised(authenticate, refresh_token="none")
    unknown_status(429, log_in, EVE)
    assert 0 < int(answers[0].headers["Retry-After"]) <= 300
    advance(int(answers[0].headers["Retry-After"]))
    log_in(EVE)


def main():
    for name, role in [(ADA, "User"), (BOB, "Administrator"), (EVE, "Observer")]:
        keyproof("add", name, "--organisation", ORGANISATION, "--role", role, "--stdin", password=PASSWORD)
    tokens = passwords()
    numbers = directory(person(tokens))
    phone, now = second_factor(tokens)
    trusted_devices(phone, now, numbers)
    administration(phone, numbers)
    recovery(advance(300))
    password_change()
    application_tokens()
    address_limit()
    print(f"logins {logins}, keys {keys}, devices {devices}")


main()
