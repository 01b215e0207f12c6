async def run() -> bool:
    return True
