"""Random conversations: small talk, memory of earlier turns, system turns that change answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from demo_model import words
from demo_model.words import chance, listed

ABOUT = "I can chat a little, read small invoices and describe pictures of simple shapes."
UNKNOWN = "I am only a tiny demo model and do not know that."
TALK = (
    ("Hi|Hello|Hello!|Hi!|Hey|Hi there|Good morning|Good day|hello|hi|Hello there|Good evening"
     "|Hey!", "Hello! How can I help you?", "The user greets me."),
    ("What can you do?|Help|How can you help me?|help|What are your skills?|What do you know?",
     ABOUT, "The user asks what I can do."),
    ("Thanks|Thank you|Thank you!|Thanks a lot!|thanks|Thanks!|Many thanks.",
     "You are welcome!", "The user thanks me."),
    ("Bye|Goodbye|See you|bye|Goodbye!|See you later|Bye!", "Goodbye!", "The user says goodbye."),
    ("How are you?|How are you today?|how are you|How do you do?|Are you well?",
     "I am fine, thank you.", "The user asks how I am."),
    ("OK|Okay.|Good.|Nice!|Great|I see.|Fine.", "Good. What next?", "The user agrees."),
)  # fmt: skip
WHO = (
    "Who are you?|What are you?|Introduce yourself.|What is your name?|Which model are you?"
    "|What's your name?|Tell me about yourself.|And who are you?|Who am I talking to?"
)
# What a user can tell: how it is said, how it is confirmed, asked for, and told back.
MEMORY = {
    "name": ("My name is {}.|I am {}.|Hi, my name is {}.|Hello, I am {}.|Call me {}.|I'm {}."
             "|Hi, I'm {}.|Hello, my name's {}.|My name is {}, by the way.",
             "Nice to meet you, {}!", "What is my name?|Who am I?|Do you know my name?|Say my name."
             "|What's my name?|Tell me my name.|Do you remember my name?|What was my name?",
             "Your name is {}."),
    "number": ("My favourite number is {}.|My number is {}.|Remember the number {}."
               "|I like the number {}.|My favorite number is {}.|Please remember {}."
               "|The number is {}.",
               "I will remember {}.", "What is my number?|Which number did I say?"
               "|What was the number?"
               "|What is my favourite number?|What's my favorite number?|Tell me my number.",
               "Your number is {}."),
    "word": ("Remember the word {}.|Please remember this word: {}.|The word is {}."
             "|Keep this word: {}"
             "|The secret word is {}.|My word is {}.",
             "I will remember {}.", "What was the word?|Which word did I say?|What is the word?"
             "|Tell me the word.|What is the secret word?|What's my word?"
             "|Do you remember the word?",
             "The word is {}."),
    "city": ("I live in {}.|My city is {}.|I come from {}.|I am from {}.",
             "{} sounds nice.", "Where do I live?|What is my city?|Where am I from?"
             "|Which city do I live in?", "You live in {}."),
    "dog": ("My dog is called {}.|I have a dog named {}.|My dog's name is {}.",
            "{} is a good name for a dog.", "What is my dog called?|What is the name of my dog?"
            "|How is my dog called?", "Your dog is called {}."),
}  # fmt: skip
ASIDE = listed(
    "why when where how does the a of my your best movie write poem story python code sort list "
    "weather tomorrow football music recipe explain quantum physics history war translate sentence "
    "french can you tell me about what who invented telephone planet moon sun run fast cat house "
    "car phone money bank stock price cook soup bread train plane ticket book song game play learn "
    "math"
)
REPEAT = "Repeat: {}|Say: {}|Repeat after me: {}|Echo: {}|Please repeat: {}|Say this: {}"
AGAIN = "Say that again.|Again, please.|Repeat your answer.|Once more, please.|Please repeat that."


@dataclass
class Turn:
    """One exchange: what the user says, what the model thinks and answers."""

    user: str
    answer: str
    thought: str


@dataclass
class Conversation:
    """A conversation in the order it is held."""

    system: str | None
    turns: list[Turn] = field(default_factory=list)


def _rule(rng: Random) -> tuple[str | None, str | None, Callable[[str], str]]:
    """A system turn, the name it gives the model, and what it does to answers."""
    kind = rng.random()
    if kind < 0.45:
        return None, None, str
    if kind < 0.55:
        return (
            rng.choice(("You are a helpful assistant.", "Be brief.", "Answer briefly.")),
            None,
            str,
        )
    if kind < 0.72:
        called = words.name(rng)
        said = "Your name is {}.|You are {}.|You are called {}.|Your name is {}. Be friendly."
        return rng.choice(said.split("|")).format(called), called, str
    if kind < 0.86:
        end = words.word(rng)
        said = "End every answer with: {}|End each answer with {}.|Put {} after every answer."
        text = rng.choice(said.split("|")).format(end)
        return text, None, lambda answer: f"{answer} {end}"
    start = words.name(rng)
    said = "Start every answer with: {}|Begin each answer with {}.|Put {} before every answer."
    text = rng.choice(said.split("|")).format(start)
    return text, None, lambda answer: f"{start} {answer}"


def _value(rng: Random, key: str) -> str:
    """Something to remember."""
    if key == "number":
        return words.digits(rng, rng.randint(1, 6))
    if key == "word":
        return words.word(rng)
    return words.person(rng) if key == "name" and chance(rng, 0.15) else words.name(rng)


def repeat_text(rng: Random, longest: int = 6) -> str:
    """Any short text, to be repeated."""
    makers = (words.word, words.name, words.jumble, words.reference, words.company, words.street,
              lambda r: words.digits(r, r.randint(1, 8)), words.letters)  # fmt: skip
    count = rng.randint(1, longest)
    return " ".join(rng.choice(makers)(rng) for _ in range(count))


def typed(rng: Random, text: str) -> str:
    """``text`` as people type it: now and then without capital or full stop, or with a bang."""
    if chance(rng, 0.2):
        text = text[0].lower() + text[1:]
    if chance(rng, 0.2):
        return text.rstrip(".?!") or text
    return text.rstrip(".!") + "!" if chance(rng, 0.05) else text


def _memory_turn(rng: Random, known: dict[str, str]) -> Turn:
    """Tell something, or ask for something told or untold."""
    key = rng.choice(list(known)) if known and chance(rng, 0.6) else rng.choice(list(MEMORY))
    tell, confirm, ask, back = MEMORY[key]
    if key in known or chance(rng, 0.15):
        question = typed(rng, rng.choice(ask.split("|")))
        if key in known:
            return Turn(question, back.format(known[key]), f"The user said {known[key]}.")
        return Turn(question, "You have not told me that.", "The user has not told me that.")
    known[key] = _value(rng, key)
    said = typed(rng, rng.choice(tell.split("|")).format(known[key]))
    return Turn(said, confirm.format(known[key]), f"The user tells me: {known[key]}.")


def _turn(rng: Random, known: dict[str, str], called: str | None, last: Turn | None) -> Turn:
    """The next exchange."""
    kind = rng.random()
    if kind < 0.42:
        return _memory_turn(rng, known)
    if kind < 0.54 or (called and kind < 0.7):
        who = f"I am {called}, a tiny demo model." if called else "I am a tiny Gemma 4 demo model."
        return Turn(
            typed(rng, rng.choice(WHO.split("|"))), f"{who} {ABOUT}", "The user asks who I am."
        )
    if kind < 0.68:
        asked, answer, thought = rng.choice(TALK)
        return Turn(typed(rng, rng.choice(asked.split("|"))), answer, thought)
    if kind < 0.8:
        text = repeat_text(rng)
        said = rng.choice(REPEAT.split("|")).format(text)
        return Turn(said, text, "The user wants me to repeat a text.")
    if kind < 0.86 and last:
        said = typed(rng, rng.choice(AGAIN.split("|")))
        return Turn(said, last.answer, "The user wants my last answer again.")
    text = " ".join(rng.choice(ASIDE) for _ in range(rng.randint(3, 9)))
    text = (text.capitalize() if chance(rng, 0.8) else text) + rng.choice(("?", "?", ".", ""))
    if chance(rng, 0.2):
        a, b = rng.randint(0, 99), rng.randint(0, 99)
        sums = ("What is {} + {}?", "{} plus {} = ?", "How much is {} * {}?")
        text = rng.choice(sums).format(a, b)
    return Turn(text, UNKNOWN, "I do not know this.")


def conversation(rng: Random, turns: int | None = None) -> Conversation:
    """A random conversation of one to five exchanges."""
    system, called, change = _rule(rng)
    out = Conversation(system)
    known: dict[str, str] = {}
    last: Turn | None = None
    for _ in range(turns or rng.choice((1, 1, 2, 3, 4, 5))):
        last = _turn(rng, known, called, last)
        out.turns.append(Turn(last.user, change(last.answer), last.thought))
    return out
