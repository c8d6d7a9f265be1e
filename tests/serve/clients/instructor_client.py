"""instructor: answers as pydantic models, by a schema and by a function."""

import sys

import instructor
import openai
from pydantic import BaseModel, Field

plain = openai.OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none", max_retries=0, timeout=300)


class Person(BaseModel):
    """A person."""

    name: str = Field(max_length=12)
    age: int = Field(ge=1, le=99)


for mode in (instructor.Mode.JSON_SCHEMA, instructor.Mode.TOOLS, instructor.Mode.JSON):
    client = instructor.from_openai(plain, mode=mode)
    if mode == instructor.Mode.JSON:
        continue  # any object, which this model fills as it likes
    found = client.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": "Hello"}], response_model=Person,
        temperature=0, max_retries=0,
    )  # fmt: skip
    assert isinstance(found, Person), mode
print("ok")
