"""langchain-openai: chat, stream, JSON held to a schema, tools."""

import sys
from typing import Literal

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

model = ChatOpenAI(
    base_url=f"{sys.argv[1]}/v1", api_key="none", model="demo", temperature=0, max_retries=0
)
TEXT = "Hello! How can I help you?"


class Person(BaseModel):
    """A person."""

    name: str = Field(max_length=12)
    age: int = Field(ge=1, le=99)


@tool
def now(zone: Literal["utc", "cet"]) -> str:
    """The time in a zone."""
    return f"12:00 in {zone}"


assert model.invoke("Hello").content == TEXT
assert "".join(each.content for each in model.stream("Hello")) == TEXT
assert isinstance(
    model.with_structured_output(Person, method="json_schema").invoke("Hello"), Person
)
found = model.with_structured_output(Person, method="function_calling").invoke("Hello")
assert isinstance(found, Person)

calling = model.bind_tools([now], tool_choice="required", parallel_tool_calls=False)
question = HumanMessage("What time is it?")
answer = calling.bind(max_tokens=200).invoke([question])
(call,) = answer.tool_calls
assert call["name"] == "now"
result = ToolMessage(now.invoke(call["args"]), tool_call_id=call["id"])
after = model.bind_tools([now]).bind(max_tokens=20).invoke([question, answer, result])
assert after.response_metadata["finish_reason"] in ("stop", "length", "tool_calls")
print("ok")
