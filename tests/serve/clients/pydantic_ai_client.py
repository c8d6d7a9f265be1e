"""pydantic-ai: chat, stream, structured output by a function and by a schema."""

import asyncio
import sys

from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

model = OpenAIChatModel(
    "demo", provider=OpenAIProvider(base_url=f"{sys.argv[1]}/v1", api_key="none")
)
settings = {"temperature": 0, "parallel_tool_calls": False}


class Person(BaseModel):
    """A person."""

    name: str = Field(max_length=12)
    age: int = Field(ge=1, le=99)


async def main() -> None:
    agent = Agent(model, model_settings={"temperature": 0})
    assert (await agent.run("Hello")).output == "Hello! How can I help you?"
    async with agent.run_stream("Hello") as streamed:
        assert await streamed.get_output() == "Hello! How can I help you?"
    by_schema = Agent(model, output_type=NativeOutput(Person), model_settings={"temperature": 0})
    assert isinstance((await by_schema.run("Hello")).output, Person)
    by_function = Agent(model, output_type=Person, model_settings=settings)
    assert isinstance((await by_function.run("Hello")).output, Person)


asyncio.run(main())
print("ok")
