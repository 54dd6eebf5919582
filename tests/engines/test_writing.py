import pytest

from mmr5.engines.protocol import Sampling
from mmr5.engines.runtime.detokenize import Detokenizer, Streamer
from support.tiny import tokenizer


@pytest.fixture(scope="module")
def tok():
    return tokenizer()


def write(tok, text, sampling, *, end=True):
    heard = []
    writer = Detokenizer(tok, [tok.eos_token_id], sampling, heard.append)
    ids = tok(text, add_special_tokens=False)["input_ids"] + [tok.eos_token_id] * end
    used = next((n for n, i in enumerate(ids, 1) if writer.push(i)), len(ids))
    return writer.reply(5), heard, used


def test_a_reply_ends_at_the_end_of_turn(tok):
    reply, heard, _ = write(tok, "a page", Sampling(20))
    assert (reply.text, reply.finish, reply.usage.completion_tokens, reply.usage.prompt_tokens) == ("a page", "stop", 6, 5)
    assert heard == ["a", "a ", "a p", "a pa", "a pag", "a page", "a page"]


def test_a_reply_ends_right_after_the_first_stop_string(tok):
    reply, heard, used = write(tok, "x</answer>yz</think>", Sampling(50, stop=("</think>", "</answer>")))
    assert (reply.text, reply.finish, used) == ("x</answer>", "stop", 10)
    assert heard[-1] == "x</answer>"


def test_a_reply_ends_at_the_limit(tok):
    reply, _, used = write(tok, "abcdef", Sampling(4))
    assert (reply.text, reply.finish, used) == ("abcd", "length", 4)


def test_half_a_character_is_not_told(tok):
    reply, heard, _ = write(tok, "é€😀!", Sampling(50))
    assert reply.text == "é€😀!"
    assert heard == ["é", "é€", "é€😀", "é€😀!", "é€😀!"]


def test_the_end_of_turn_wins_over_a_pending_character(tok):
    ids = tok("€", add_special_tokens=False)["input_ids"]
    writer = Detokenizer(tok, [tok.eos_token_id], Sampling(9))
    assert [writer.push(i) for i in [*ids[:2], tok.eos_token_id]] == [False, False, True]
    assert writer.reply(0).text == tok.decode(ids[:2])


def test_what_was_told_is_not_told_again():
    heard = []
    streamer = Streamer(lambda i, text: heard.append((i, text)), 2)
    for text in ("a", "ab", "a", "ab", "abc"):
        streamer.at(1)(text)
    assert heard == [(1, "a"), (1, "b"), (1, "c")]
